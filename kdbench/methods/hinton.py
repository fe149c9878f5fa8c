"""Soft-target distillation: match the teacher's softened class probabilities.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.losses import soft_target
from kdbench.methods.contract import Batch, Method, hyperparameter, method
from kdbench.methods.ranges import positive, share


@method("hinton", source="arXiv:1503.02531")
@dataclass(frozen=True)
class Hinton(Method):
    """Labels and soft targets. A method that adds something to these two terms inherits both."""

    temperature: float = hyperparameter(4.0, "> 0; divides both logits, larger is softer")
    alpha: float = hyperparameter(0.9, "in [0, 1]; weight of the soft targets, the labels get the rest")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        positive(self, "temperature")
        share(self, "alpha")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, (1 - alpha) CE with the labels; soft, alpha T² KL to the teacher; means in nats."""
        hard = F.cross_entropy(batch.student.logits, batch.labels)
        soft = soft_target(batch.student.logits, batch.teacher_outputs.logits, self.temperature)
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * soft}
