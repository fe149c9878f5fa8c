import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kdbench import methods
from kdbench.methods.contract import Batch
from kdbench.methods.testing import forward, outputs_of
from kdbench.models.outputs import Outputs

LABELS = ("adv-noise", "adv-fgsm", "adv-bim", "adv-deepfool", "adv-cw")


class Linear(nn.Module):
    """Two logits (w x, 0) of an image of one pixel."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, images: Tensor) -> Outputs:
        logits = self.weight * images.flatten(1)
        return outputs_of(torch.cat([logits, torch.zeros_like(logits)], dim=1))


def batch(value: float) -> Batch:
    """One image of class 0; student of slope 1, teacher of slope 2; pixels from -1 to 1."""
    images = torch.tensor([[[[value]]]], dtype=torch.float64)
    made = forward(Linear(1.0), Linear(2.0), images, torch.tensor([0]))
    bound = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    return replace(made, pixel_range=(-bound, bound))


def soft(student: float, teacher: float) -> float:
    """KL of two classes with logits (x, 0) at T = 3, without T²."""
    p, q = (1 / (1 + math.exp(-x / 3)) for x in (teacher, student))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize(("label", "gradients"), [("adv-fgsm", 1), ("adv-bim", 10)])
def test_a_step_down_the_sign_by_hand(label: str, gradients: int) -> None:
    """The label's logit falls with x: x̄ = 0.2 − 0.3 = −0.1, which the teacher takes for class 1; e = ¼."""
    given = batch(0.2)
    terms = methods.make(label).losses(given)
    assert terms["boundary"].item() == pytest.approx(2 * (1 - 1 / 3) * soft(-0.1, -0.2), rel=1e-4)
    assert terms["soft"].item() == pytest.approx((1 + 3 * 3 / 4) * soft(0.2, 0.4), rel=1e-4)
    assert given.watched["teacher_gradients"].item() == gradients


def test_noise_by_hand() -> None:
    """x̄ = 0.2 ± 0.3 by chance, accepted either way, without a gradient."""
    given = batch(0.2)
    term = methods.make("adv-noise").losses(given)["boundary"].item()
    up, down = (2 * (1 - 1 / 3) * soft(x, 2 * x) for x in (0.5, -0.1))
    assert term == pytest.approx(up, rel=1e-4) or term == pytest.approx(down, rel=1e-4)
    assert given.watched["teacher_gradients"].item() == 0
    assert given.watched["accepted"].item() == 1


@pytest.mark.parametrize("label", ["adv-deepfool", "adv-cw"])
def test_kept_attacks_cross_the_boundary_within_the_budget(label: str) -> None:
    given = batch(0.2)
    term = methods.make(label, {"max_steps": 15}).losses(given)["boundary"].item()
    assert given.watched["accepted"].item() == 1
    assert 0.2 < given.watched["perturbation"].item() < 0.5
    assert 1 <= given.watched["teacher_gradients"].item() <= 15
    assert term > 0


@pytest.mark.parametrize("label", LABELS)
def test_nothing_qualifies(label: str) -> None:
    given = batch(-0.2)
    assert methods.make(label).losses(given)["boundary"].item() == 0
    assert given.watched["base_samples"].item() == 0


@pytest.mark.parametrize("label", LABELS)
def test_only_what_the_attack_uses_is_a_hyperparameter(label: str) -> None:
    own = methods.hyperparameters(label).keys() - {"alpha", "beta", "temperature", "base_samples"}
    assert (
        own
        == {
            "adv-noise": {"step_size"},
            "adv-fgsm": {"step_size"},
            "adv-bim": {"step_size", "max_steps"},
            "adv-deepfool": {"max_steps"},
            "adv-cw": {"step_size", "max_steps"},
        }[label]
    )
