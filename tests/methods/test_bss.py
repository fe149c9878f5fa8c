import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kdbench import methods
from kdbench.boundary import boundary_supporting_samples
from kdbench.errors import RangeError
from kdbench.methods.contract import Batch
from kdbench.methods.testing import forward, outputs_of
from kdbench.models.outputs import Outputs


class Linear(nn.Module):
    """Two logits (w x, 0) of an image of one pixel, and a count of the images seen."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen = 0

    def forward(self, images: Tensor) -> Outputs:
        self.seen += len(images)
        logits = self.weight * images.flatten(1)
        return outputs_of(torch.cat([logits, torch.zeros_like(logits)], dim=1))


def batch(values: list[float], labels: list[int], *, epoch: int = 1, epochs: int = 4) -> Batch:
    """Student of slope 1, teacher of slope 2; pixels from -10 to 10."""
    images = torch.tensor(values).view(-1, 1, 1, 1)
    made = forward(Linear(1.0), Linear(2.0), images, torch.tensor(labels), epoch=epoch, epochs=epochs)
    bound = torch.full((1, 1, 1, 1), 10.0)
    return replace(made, pixel_range=(-bound, bound))


def soft(student: float, teacher: float, temperature: float) -> float:
    """KL of two classes with logits (x, 0) at a temperature, without T²."""
    p, q = (1 / (1 + math.exp(-x / temperature)) for x in (teacher, student))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_the_three_terms_by_hand() -> None:
    """One image x = 1 of class 0, e = ¼. The teacher's L = 2 x, ‖∇L‖ = 2: a step is η (L + ε) · 2 / 2.

    With η = 1 and ε = ½ the first step is 2 ½, so that x̄ = −3/2 and the teacher says class 1.
    """
    values = {"alpha": 2.0, "beta": 3.0, "temperature": 2.0, "step_size": 1.0, "epsilon": 0.5, "max_steps": 1}
    given = batch([1.0], [0])
    terms = methods.make("bss", values).losses(given)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {
            "hard": math.log(1 + math.exp(-1)),
            "soft": (1 + 2 * 3 / 4) * soft(1.0, 2.0, 2.0),
            "boundary": 3 * (1 - 1 / 3) * soft(-1.5, -3.0, 2.0),
        },
        rel=1e-5,
    )
    assert {name: value.item() for name, value in given.watched.items()} == {
        "base_samples": 1,
        "accepted": 1.0,
        "steps": 1.0,
        "teacher_gradients": 1,
        "perturbation": 2.5,
    }


def test_the_schedules() -> None:
    """At the end alpha is 1; the last quarter searches nothing and leaves nothing to watch."""
    for epoch, expected in ((1, 1.0 + 3 * 3 / 4), (4, 1.0)):
        terms = methods.make("bss", {"temperature": 1.0}).losses(batch([1.0], [0], epoch=epoch))
        assert terms["soft"].item() == pytest.approx(expected * soft(1.0, 2.0, 1.0), rel=1e-5)
    for epoch in (3, 4):
        given = batch([1.0], [0], epoch=epoch)
        before = given.teacher_model.seen  # type: ignore[union-attr]
        assert methods.make("bss").losses(given)["boundary"].item() == 0
        assert given.teacher_model.seen == before  # type: ignore[union-attr]
        assert given.watched == {}


def test_images_through_the_networks_are_counted() -> None:
    """Three images qualify (the fourth has a wrong label); N takes two of them."""
    given = batch([0.9, 1.0, 1.1, 1.0], [0, 0, 0, 1])
    values = {"base_samples": 2, "step_size": 1.0, "epsilon": 0.5, "max_steps": 3}
    methods.make("bss", values).losses(given)
    assert given.watched["base_samples"].item() == 2
    steps = int(given.watched["teacher_gradients"].item())
    accepted = round(given.watched["accepted"].item() * 2)
    assert isinstance(given.teacher_model, Linear) and isinstance(given.student_model, Linear)
    assert given.teacher_model.seen == 4 + (2 + steps) + accepted  # batch, search, moved samples
    assert given.student_model.seen == 4 + accepted


@pytest.mark.parametrize(
    ("values", "labels"), [([-1.0, -2.0], [0, 0]), ([1.0, -1.0], [1, 0])], ids=["student", "both"]
)
def test_no_base_sample_no_boundary_term(values: list[float], labels: list[int]) -> None:
    given = batch(values, labels)
    terms = methods.make("bss").losses(given)
    assert terms["boundary"].item() == 0
    terms["boundary"].backward()
    assert given.watched["base_samples"].item() == 0
    assert "accepted" not in given.watched


def test_none_accepted_no_boundary_term() -> None:
    given = batch([5.0], [0])
    terms = methods.make("bss", {"max_steps": 1, "step_size": 0.05}).losses(given)
    assert terms["boundary"].item() == 0
    assert given.watched["accepted"].item() == 0
    assert given.watched["teacher_gradients"].item() == 1


def test_the_search_stays_within_the_pixels() -> None:
    """A bound at 0.5 keeps x̄ on the base class's side, so that nothing is accepted."""
    given = batch([1.0], [0])
    bound = torch.full((1, 1, 1, 1), 0.5)
    bounded = replace(given, pixel_range=(bound, 20 * bound))
    values = {"step_size": 1.0, "epsilon": 0.5}
    assert methods.make("bss", values).losses(given)["boundary"].item() > 0
    assert methods.make("bss", values).losses(bounded)["boundary"].item() == 0


class Normalised(Linear):
    """As Linear, its images batch-normalised first: a batch of one image of 1x1 has no statistics."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: Tensor) -> Outputs:
        return super().forward(self.norm(images))


def test_a_single_accepted_sample_passes_batch_normalisation() -> None:
    given = batch([1.0], [0])
    student = Normalised().train()
    terms = methods.make("bss", {"epsilon": 0.5, "step_size": 1.0}).losses(
        replace(given, student_model=student)
    )
    assert given.watched["accepted"].item() == 1
    assert math.isfinite(terms["boundary"].item())


def test_moved_samples_pass_the_student_apart_and_in_train_mode() -> None:
    """Only accepted ones, after the batch itself: the running mean is theirs."""
    given = batch([1.0, 2.0], [0, 0])
    student = Normalised().train()
    student.norm.momentum = 1.0
    values = {"epsilon": 0.5, "step_size": 1.0, "max_steps": 1}
    methods.make("bss", values).losses(replace(given, student_model=student))
    moved = boundary_supporting_samples(
        Linear(2.0),
        given.images,
        given.labels,
        torch.tensor([1, 1]),
        step_size=1.0,
        epsilon=0.5,
        max_steps=1,
    )
    assert moved.accepted.all()
    assert student.norm.running_mean is not None
    assert student.norm.running_mean.item() == pytest.approx(moved.images.mean().item())


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", -0.1), ("beta", math.nan), ("temperature", 0.0), ("step_size", 0.0), ("max_steps", 0)],
)
def test_ranges(name: str, value: float) -> None:
    with pytest.raises(RangeError, match=name):
        methods.make("bss", {name: value})
