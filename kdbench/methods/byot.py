"""Be your own teacher: the shallow exits of a network learn from its deepest exit, without a teacher.

Source: Zhang et al. 2019, arXiv:1905.08094. The trainer puts an exit after every stage (`needs`: exits);
the student's own classifier is the deepest, and what the comparison measures. The deepest exit's label term
is its full cross-entropy, as in the paper; the third-party code weighs it by 1 - alpha. That code has alpha
0.1 and lambda 1e-6 for features that it masks and sums over a batch of 128; here the feature term is a mean
over the batch, and the defaults are 0.3 and 1e-4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdbench.losses import self_distillation
from kdbench.methods.contract import Batch, Method, Need, TeacherNeed, hyperparameter, method
from kdbench.methods.ranges import not_negative, positive, share


@method("byot", source="arXiv:1905.08094")
@dataclass(frozen=True)
class Byot(Method):
    """Labels at every exit; the deepest exit's prediction and feature as targets of the shallow ones."""

    teacher: ClassVar[TeacherNeed] = "none"
    needs: ClassVar[frozenset[Need]] = frozenset({"exits"})
    extra: ClassVar[tuple[str, ...]] = ("alpha", "lambda_", "temperature")

    alpha: float = hyperparameter(0.3, "in [0, 1]; weight of the deepest exit, the labels get the rest")
    lambda_: float = hyperparameter(1e-4, ">= 0; multiplies the squared distance to the deepest feature")
    temperature: float = hyperparameter(3.0, "> 0; divides the logits of all exits")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        share(self, "alpha")
        not_negative(self, "lambda_")
        positive(self, "temperature")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard of the deepest exit; exit_label, exit_soft, exit_feature, sums over the shallow exits.

        The shallow exits' terms are extra terms: in a composition they stand beside another task loss.
        """
        exits = batch.student.exits
        terms = self_distillation(
            [each.logits for each in exits],
            [each.feature for each in exits],
            batch.labels,
            self.alpha,
            self.lambda_,
            self.temperature,
        )
        hard = F.cross_entropy(exits[-1].logits, batch.labels)
        return {
            "hard": hard,
            "exit_label": terms["label"] - hard,
            "exit_soft": terms["soft"],
            "exit_feature": terms["feature"],
        }
