import math

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from kdbench import methods
from kdbench.errors import RangeError
from kdbench.methods.contract import Network
from kdbench.methods.specialist_ensemble import Probabilities, SpecialistEnsemble, agree, dustbin_merged
from kdbench.methods.specialists import Specialist, confusable_classes, half_and_half, oversampling
from kdbench.methods.testing import batch_of, outputs_of
from kdbench.models.outputs import Outputs


def test_distilling_back_is_hinton() -> None:
    batch = batch_of(outputs_of(torch.randn(4, 5)), outputs_of(torch.randn(4, 5)))
    assert methods.make("specialists").losses(batch) == methods.make("hinton").losses(batch)


def test_two_classes_are_refused() -> None:
    two, three = (Network("net", classes, ((5,), (6,)), ((6,),), 7) for classes in (2, 3))
    assert methods.check("specialists", two, two) == "it needs more than two classes; missing in net"
    assert methods.check("specialists", three, three) is None


def test_classes_that_are_confused_are_grouped() -> None:
    """Classes 0, 1, 2 share their probability among themselves, and so do 3, 4, 5."""
    generator = torch.Generator().manual_seed(0)
    block = torch.rand(400, 3, generator=generator)
    left = torch.cat([block, block - 6], 1)
    first = torch.arange(400) % 2 == 0
    logits = torch.where(first[:, None], left, left.roll(3, dims=1))
    groups = confusable_classes(logits.softmax(1), clusters=2, size=3, seed=0)
    assert groups.tolist() == [[False] * 3 + [True] * 3, [True] * 3 + [False] * 3]
    assert torch.equal(groups, confusable_classes(logits.softmax(1), clusters=2, size=3, seed=0))


def test_groups_may_overlap_and_equal_ones_are_one() -> None:
    predictions = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    groups = confusable_classes(predictions, clusters=6, size=3, seed=0)
    assert (groups.sum(1) == 3).all()
    assert len(groups) == len(torch.unique(groups, dim=0)) <= 4


def test_half_special_half_rest() -> None:
    """Three special images of ten get half the draws: each is drawn 7/3 times as often as another."""
    special = torch.arange(10) < 3
    weights = half_and_half(special)
    assert weights[special].sum().item() == pytest.approx(0.5)
    assert weights.sum().item() == pytest.approx(1)
    assert len(weights[special].unique()) == len(weights[~special].unique()) == 1
    assert (weights[0] / weights[9]).item() == pytest.approx(7 / 3)
    assert oversampling(special[None]).tolist() == pytest.approx([7 / 3])


def test_the_dustbin_by_hand() -> None:
    """Probabilities 1/8, 2/8, 1/8, 4/8, group {1, 3}: 2/8, 4/8 and the dustbin 2/8, where label 2 is."""
    logits = torch.tensor([[1.0, 2.0, 1.0, 4.0]]).log()
    group = torch.tensor([False, True, False, True])
    assert dustbin_merged(logits, group).softmax(1).tolist()[0] == pytest.approx([0, 1 / 4, 0, 1 / 2, 1 / 4])
    for label, probability in ((1, 1 / 4), (2, 1 / 4), (3, 1 / 2)):
        batch = batch_of(outputs_of(logits), labels=torch.tensor([label]))
        loss = Specialist((1, 3)).losses(batch)["hard"].item()
        assert loss == pytest.approx(-math.log(probability))


def test_agreement_with_one_specialist_by_hand() -> None:
    """p_g = (.5, .3, .2), group {0}, p_m = (.9 | .1): q_0 = (.5 + .9) / 2, the rest keeps p_g's shares."""
    general = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    special = torch.tensor([[[0.9, 0.0, 0.0, 0.1]]], dtype=torch.float64)
    groups, active = torch.tensor([[True, False, False]]), torch.tensor([[True]])
    q = agree(general, special, groups, active).softmax(1)
    assert q.tolist()[0] == pytest.approx([0.7, 0.3 * 3 / 5, 0.3 * 2 / 5])
    unchanged = agree(general, special, groups, ~active).softmax(1)
    torch.testing.assert_close(unchanged, general)


def divergence(z: Tensor, general: Tensor, special: Tensor, groups: Tensor, active: Tensor) -> Tensor:
    """KL(p_g, q) + Σ_m KL(p_m, q) of one sample, term by term as written in the paper."""
    q = z.softmax(0)
    total = (general * (general / q).log()).sum()
    for group, mine in zip(groups[active], special[active], strict=True):
        total = total + (mine[:-1][group] * (mine[:-1][group] / q[group]).log()).sum()
        total = total + mine[-1] * (mine[-1] / q[~group].sum()).log()
    return total


def test_agreement_is_the_minimum_that_a_general_optimiser_finds() -> None:
    """Overlapping groups, all specialists active; each sample alone through scipy's BFGS."""
    generator = torch.Generator().manual_seed(3)
    groups = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0, 0]]).bool()
    noise = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    general = noise[0].softmax(1)
    special = torch.stack([dustbin_merged(noise[m + 1], groups[m]).softmax(1) for m in range(3)])
    active = torch.rand(3, 5, generator=generator) < 0.7
    found = agree(general, special, groups, active)
    for sample in range(5):
        case = (general[sample], special[:, sample], groups, active[:, sample])

        def value(z: list[float], case: tuple[Tensor, ...] = case) -> float:
            return divergence(torch.tensor(z, dtype=torch.float64), *case).item()

        best = minimize(value, general[sample].log().numpy(), method="BFGS", options={"gtol": 1e-7})
        torch.testing.assert_close(
            found[sample].softmax(0), torch.tensor(best.x).softmax(0), atol=2e-4, rtol=0
        )
        assert divergence(found[sample], *case).item() <= best.fun + 1e-8
    alone = torch.cat([agree(general[[i]], special[:, [i]], groups, active[:, [i]]) for i in range(5)])
    torch.testing.assert_close(found, alone)


class Constant(nn.Module):
    """A network that says the same of every image."""

    def __init__(self, probabilities: list[float]):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, images: Tensor) -> Outputs:
        return outputs_of(self.logits.expand(len(images), -1))


def test_the_ensemble_corrects_the_dustbin_and_asks_only_who_knows_the_likeliest_class() -> None:
    """The first specialist knows class 0 alone, was oversampled 3 times and says (½ | ½): corrected (¼ | ¾).

    The second knows class 2 and is not asked, since the generalist's likeliest class is 0.
    """
    generalist = Constant([0.5, 0.3, 0.2])
    specialists = [Constant([0.5, 0.2, 0.3]), Constant([0.0001, 0.0001, 0.9998])]
    groups = torch.tensor([[True, False, False], [False, False, True]])
    ensemble = SpecialistEnsemble(generalist, specialists, groups, torch.tensor([3.0, 3.0]))
    q = ensemble(torch.zeros(2, 1, 8, 8)).logits.softmax(1)
    first = (0.5 + 0.25) / 2
    assert q[1].tolist() == pytest.approx([first, (1 - first) * 3 / 5, (1 - first) * 2 / 5], rel=1e-5)


def test_the_ensemble_tells_how_many_specialists_know_a_class() -> None:
    groups = torch.tensor([[True, True, False], [False, True, False]])
    constant = Constant([0.5, 0.3, 0.2])
    ensemble = SpecialistEnsemble(constant, [constant, constant], groups, torch.ones(2))
    assert Probabilities(ensemble).covering.tolist() == [1, 2, 0]


def test_an_ensemble_without_specialists_is_the_generalist() -> None:
    ensemble = SpecialistEnsemble(
        Constant([0.5, 0.3, 0.2]), [], torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0)
    )
    assert ensemble(torch.zeros(1, 1, 8, 8)).logits.softmax(1)[0].tolist() == pytest.approx([0.5, 0.3, 0.2])


@pytest.mark.parametrize(
    ("name", "value"), [("clusters", 0), ("classes_per_specialist", 1), ("specialist_epochs", -1)]
)
def test_ranges(name: str, value: int) -> None:
    with pytest.raises(RangeError, match=name):
        methods.make("specialists", {name: value})
