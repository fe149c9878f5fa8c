import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from kdbench import methods
from kdbench.errors import RangeError
from kdbench.methods.ban import permuted
from kdbench.methods.contract import Context, Method
from kdbench.methods.testing import batch_of, outputs_of


@dataclass
class Recorder:
    """A context whose trainings are recorded and give a network without doing anything."""

    teacher: nn.Module | None
    trained: list[tuple[str, Method, nn.Module | None]] = field(default_factory=list)
    images: Tensor = field(default_factory=lambda: torch.zeros(4, 1, 8, 8))
    labels: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.int64))
    classes: int = 2
    epochs: int = 8
    generator: torch.Generator = field(default_factory=torch.Generator)
    student_name: str = "mlp-8x2"

    def train(
        self,
        tag: str,
        objective: Method,
        *,
        teacher: nn.Module | None,
        start: nn.Module | None = None,
        epochs: int | None = None,
        sampling: Tensor | None = None,
    ) -> nn.Module:
        assert start is None and epochs is None and sampling is None  # fresh students, ordinary trainings
        self.trained.append((tag, objective, teacher))
        return nn.Linear(1, 1)


def test_soft_targets_at_temperature_one_by_hand() -> None:
    student = outputs_of(torch.zeros(1, 2))
    teacher = outputs_of(torch.tensor([[math.log(3), 0.0]]))
    terms = methods.make("ban").losses(batch_of(student, teacher))
    assert terms.keys() == {"soft"}
    assert terms["soft"].item() == pytest.approx(3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2))


def test_weights_by_the_teachers_confidence_by_hand() -> None:
    """Confidences 3/4 and 1/2 (mean 5/8) weigh ln 4 and ln 2: a label that the teacher denies counts too."""
    student = outputs_of(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]))
    teacher = outputs_of(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]))
    terms = methods.make("ban-cwtm").losses(batch_of(student, teacher))
    assert terms.keys() == {"hard"}
    expected = (3 / 4 * math.log(4) + 1 / 2 * math.log(2)) / (5 / 8) / 2
    assert terms["hard"].item() == pytest.approx(expected)


def test_all_but_the_largest_are_permuted_per_sample() -> None:
    logits = torch.tensor([[5.0, 1.0, 2.0, 3.0], [1.0, 2.0, 9.0, 3.0]]).repeat(300, 1)
    moved = permuted(logits, torch.Generator().manual_seed(0))
    assert torch.equal(moved.argmax(1), logits.argmax(1))
    assert torch.equal(moved.amax(1), logits.amax(1))
    assert torch.equal(moved.sort(1).values, logits.sort(1).values)
    orders = {tuple(row) for row in moved[::2].tolist()}
    assert len(orders) == 6  # every order of the three others comes up
    again = permuted(logits, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again)


def test_permuted_dark_knowledge_is_what_the_student_learns() -> None:
    student = outputs_of(torch.tensor([[2.0, 0.0]]))
    teacher = outputs_of(torch.tensor([[2.0, 0.0]]))
    assert methods.make("ban-dkpp").losses(batch_of(student, teacher))["soft"].item() == pytest.approx(
        0, abs=1e-7
    )
    three = outputs_of(torch.tensor([[5.0, 1.0, 3.0]]))
    found = {
        round(methods.make("ban-dkpp").losses(batch_of(three, three, seed=seed))["soft"].item(), 4)
        for seed in range(8)
    }
    p = torch.tensor([5.0, 1.0, 3.0]).softmax(0)
    assert found == {
        0.0,
        round(2 * (p[2] - p[1]).item(), 4),
    }  # KL of (p1 <-> p2): (p2 - p1) · ln(p2 / p1), ln = 2


@pytest.mark.parametrize("label", ["ban", "ban-cwtm", "ban-dkpp"])
def test_a_chain_of_generations(label: str) -> None:
    zero = nn.Linear(1, 1)
    context = Recorder(zero)
    method = methods.make(label, {"generations": 3})
    prepared = method.prepare(as_context(context))
    assert [tag for tag, _, _ in context.trained] == ["generation-1", "generation-2"]
    assert context.trained[0][2] is zero
    assert all(objective is method for _, objective, _ in context.trained)
    assert prepared.members[0] is zero and len(prepared.members) == 3
    assert prepared.teacher is prepared.members[2]


def test_one_generation_trains_nothing_before() -> None:
    context = Recorder(nn.Linear(1, 1))
    prepared = methods.make("ban").prepare(as_context(context))
    assert context.trained == []
    assert prepared.teacher is context.teacher


def as_context(recorder: Recorder) -> Context:
    return recorder


@pytest.mark.parametrize("generations", [0, 4])
def test_one_to_three_generations(generations: int) -> None:
    with pytest.raises(RangeError, match="1 to 3"):
        methods.make("ban", {"generations": generations})


def test_what_is_declared() -> None:
    method = methods.get("ban-dkpp")
    assert (method.teacher, method.fixed, method.label) == ("self", ("generations",), "ban-dkpp")
