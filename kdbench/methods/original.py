"""Cross-entropy with the labels alone: what every gain is measured against, tuned with the same budget.

Source: the ordinary training of a classifier; no teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdbench.methods.contract import Batch, Method, TeacherNeed, method


@method("original", source="the ordinary training")
@dataclass(frozen=True)
class Original(Method):
    """The student without distillation; it searches the shared training parameters only."""

    teacher: ClassVar[TeacherNeed] = "none"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: hard, cross-entropy in nats, mean over the batch."""
        return {"hard": F.cross_entropy(batch.student.logits, batch.labels)}
