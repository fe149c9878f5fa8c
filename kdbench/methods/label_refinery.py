"""Label refinery: a chain of networks, each trained on the labels that the one before gives to the same crop.

Source: Bagherinezhad et al. 2018, arXiv:1805.02641. The first refinery is the student's model trained by
the recipe (a planned teacher); every later one is a fresh student. No labels of the data set, T = 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdbench.losses import soft_target
from kdbench.methods.ban import succession
from kdbench.methods.contract import Batch, Context, Method, Prepared, TeacherNeed, hyperparameter, method
from kdbench.methods.ranges import at_least_one


@method("label-refinery", source="arXiv:1805.02641")
@dataclass(frozen=True)
class LabelRefinery(Method):
    """KL to the refinery's softmax on the same augmented image."""

    teacher: ClassVar[TeacherNeed] = "self"
    fixed: ClassVar[tuple[str, ...]] = ("generations",)

    generations: int = hyperparameter(
        2, ">= 1; networks trained on refined labels, the student the last of them"
    )

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        at_least_one(self, "generations")

    def prepare(self, context: Context) -> Prepared:
        """Train all refineries but the first, which is planned."""
        return Prepared(teacher=succession(context, self, self.generations)[-1])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: soft, KL to the refinery in nats."""
        return {"soft": soft_target(batch.student.logits, batch.teacher_outputs.logits, 1.0)}
