"""Relational distillation: match the distances and angles between the samples of a batch.

Source: Park et al. 2019, arXiv:1904.05068. Both relations are taken on the penultimate embedding, as in the
paper, and added to the soft targets. `rkd-d` and `rkd-a` are the paper's single-relation variants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdbench.losses import relational_angle, relational_distance
from kdbench.methods.contract import Batch, Scalar, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import positive


def _distance(batch: Batch) -> Tensor:
    return relational_distance(batch.student.embedding, batch.teacher_outputs.embedding)


def _angle(batch: Batch) -> Tensor:
    return relational_angle(batch.student.embedding, batch.teacher_outputs.embedding)


@method("rkd", source="arXiv:1904.05068")
@dataclass(frozen=True)
class Rkd(Hinton):
    """Distances and angles."""

    extra: ClassVar[tuple[str, ...]] = ("lambda_distance", "lambda_angle")
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    lambda_distance: float = hyperparameter(25.0, "> 0; multiplies the distance relation")
    lambda_angle: float = hyperparameter(50.0, "> 0; multiplies the angle relation")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "lambda_distance", "lambda_angle")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft, distance and angle."""
        return super().losses(batch) | {
            "distance": self.lambda_distance * _distance(batch),
            "angle": self.lambda_angle * _angle(batch),
        }


@method("rkd-d", source="arXiv:1904.05068")
@dataclass(frozen=True)
class RkdDistance(Hinton):
    """Distances only."""

    extra: ClassVar[tuple[str, ...]] = ("lambda_distance",)
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    lambda_distance: float = hyperparameter(25.0, "> 0; multiplies the distance relation")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "lambda_distance")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft and distance."""
        return super().losses(batch) | {"distance": self.lambda_distance * _distance(batch)}


@method("rkd-a", source="arXiv:1904.05068")
@dataclass(frozen=True)
class RkdAngle(Hinton):
    """Angles only."""

    extra: ClassVar[tuple[str, ...]] = ("lambda_angle",)
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    lambda_angle: float = hyperparameter(50.0, "> 0; multiplies the angle relation")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "lambda_angle")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft and angle."""
        return super().losses(batch) | {"angle": self.lambda_angle * _angle(batch)}
