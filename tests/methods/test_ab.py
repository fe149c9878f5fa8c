import pytest
import torch
from torch import nn

from kdbench import methods
from kdbench.methods.contract import Network
from kdbench.methods.testing import batch_of, outputs_of

LOGITS = torch.zeros(1, 2)


def test_boundaries_by_hand() -> None:
    """Margin ½. Last layer: t > 0 and s = 0 costs (0 − ½)² = ¼; first layer, weight ½: t <= 0 and s = 1 costs
    (1 + ½)² = 9/4, s = 2 with t > 0 nothing. Times 3/1000 and beta 1000."""
    student = outputs_of(LOGITS, preacts=(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]])))
    teacher = outputs_of(LOGITS, preacts=(torch.tensor([[-1.0, 1.0]]), torch.tensor([[3.0]])))
    connectors = nn.ModuleList([nn.Identity(), nn.Identity()])
    batch = batch_of(student, teacher, stage="boundaries", connectors=connectors)
    terms = methods.make("ab", {"margin": 0.5, "beta": 1000.0}).losses(batch)
    assert terms.keys() == {"activation_boundary"}
    assert terms["activation_boundary"].item() == pytest.approx(3 * (0.25 + 0.5 * 2.25))
    assert {name: value.item() for name, value in batch.watched.items()} == {
        "agreement_1": 0.5,
        "agreement_2": 0.0,
    }


def test_the_second_stage_is_soft_targets_alone_and_still_watches() -> None:
    preacts = (torch.randn(3, 4),)
    student = outputs_of(torch.randn(3, 5), preacts=preacts)
    teacher = outputs_of(torch.randn(3, 5), preacts=preacts)
    batch = batch_of(student, teacher, connectors=nn.ModuleList([nn.Identity()]))
    terms = methods.make("ab").losses(batch)
    assert terms == methods.make("hinton", {"temperature": 3.0, "alpha": 1.0}).losses(batch)
    assert terms["hard"].item() == 0
    assert batch.watched["agreement_1"].item() == 1


def test_connectors_have_no_bias_and_stand_only_where_channels_differ() -> None:
    student = Network("s", 3, ((4, 8, 8),) * 3, ((4, 8, 8), (8, 4, 4)), 7)
    teacher = Network("t", 3, ((4, 8, 8),) * 3, ((4, 8, 8), (9, 4, 4)), 7)
    connectors = methods.make("ab").build(student, teacher)
    assert connectors is not None
    same, other = connectors.children()
    assert isinstance(same, nn.Identity)
    assert [tuple(parameter.shape) for parameter in other.parameters()] == [(9, 8, 1, 1), (9,), (9,)]


def test_which_pairs_it_refuses() -> None:
    student = Network("s", 3, ((4, 8, 8),) * 3, ((4, 8, 8), (8, 4, 4)), 7)
    larger = Network("t", 3, ((4, 8, 8),) * 3, ((4, 16, 16), (8, 8, 8)), 7)
    vectors = Network("v", 3, ((4,),) * 3, ((4,), (8,)), 7)
    fewer = Network("f", 3, ((4, 8, 8),) * 2, ((4, 8, 8),), 7)
    assert methods.check("ab", student, student) is None
    assert methods.check("ab", vectors, vectors) is None
    assert "student has (4, 8, 8), teacher (4, 16, 16)" in (methods.check("ab", student, larger) or "")
    assert "unit with unit" in (methods.check("ab", student, vectors) or "")
    assert "unequal numbers of stages" in (methods.check("ab", student, fewer) or "")
