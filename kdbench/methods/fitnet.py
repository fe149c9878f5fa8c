"""Hints: a regressor on a middle layer of the student predicts the teacher's middle layer.

Source: Romero et al. 2015 (FitNets), arXiv:1412.6550. `fitnet` is the paper's two stages: first the student
up to the guided layer and the regressor, then soft targets. `fitnet-1s` adds the hint to the soft targets
in one stage, as later comparisons (RepDistiller) do; their weight 100 is its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.losses import hint
from kdbench.methods.connectors import Shape, connector, same_size, unlike
from kdbench.methods.contract import Batch, Network, Scalar, Stage, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import part, positive

GUIDED = 2  # the hint sits after the second stage, or after the last of a network that has fewer


def _guided(features: tuple[Shape, ...]) -> Shape:
    return features[min(GUIDED, len(features) - 1)]


@dataclass(frozen=True)
class _Guided(Hinton):
    """What the two variants share: the regressor, its loss, and which pairs have comparable middle layers."""

    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    beta: float = hyperparameter(1.0, "> 0; multiplies the hint")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "beta")

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """Feature maps cannot be regressed from vectors, nor vectors from maps."""
        return None if teacher is None else unlike(_guided(student.features), _guided(teacher.features))

    def build(self, student: Network, teacher: Network | None) -> nn.Module:
        """The regressor, from the student's guided layer to the teacher's hint layer."""
        assert teacher is not None
        return connector(_guided(student.features), _guided(teacher.features))

    def hint(self, batch: Batch) -> Tensor:
        """The weighted loss: beta times the regressor's mean squared error."""
        assert batch.connectors is not None
        student, teacher = batch.student.features, batch.teacher_outputs.features
        predicted = batch.connectors(student[min(GUIDED, len(student) - 1)])
        return self.beta * hint(*same_size(predicted, teacher[min(GUIDED, len(teacher) - 1)]))


@method("fitnet", source="arXiv:1412.6550")
@dataclass(frozen=True)
class FitNet(_Guided):
    """Two stages: the hint alone, then soft targets."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "hint_share", "init_lr")

    hint_share: float = hyperparameter(0.25, "in (0, 1); share of the epochs in the first stage")
    init_lr: float = hyperparameter(0.01, "> 0; peak learning rate of the first stage")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "init_lr")
        part(self, "hint_share")

    def stages(self) -> tuple[Stage, ...]:
        """The stages hint and distil."""
        return Stage("hint", self.hint_share, self.init_lr), Stage("distil", 1 - self.hint_share)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hint alone in the first stage, hard and soft in the second."""
        return {"hint": self.hint(batch)} if batch.stage == "hint" else super().losses(batch)


@method("fitnet-1s", source="arXiv:1412.6550")
@dataclass(frozen=True)
class FitNetOneStage(_Guided):
    """One stage: labels, soft targets and the hint together."""

    extra: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = hyperparameter(100.0, "> 0; multiplies the hint")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft and hint."""
        return super().losses(batch) | {"hint": self.hint(batch)}
