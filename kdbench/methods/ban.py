"""Born-again networks: each generation has its teacher's architecture and learns from the one before.

Source: Furlanello et al. 2018, arXiv:1805.04770. Generation 0 is the student's model trained by the recipe
(a planned teacher). `ban` uses the teacher's loss only, which the paper finds better than adding the
labels. `ban-cwtm` and `ban-dkpp` are its controls: what of the effect is the teacher's confidence, and what
its wrong classes' probabilities. The ensemble averages all generations, 0 included, as in the paper's
tables.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.errors import require
from kdbench.losses import soft_target
from kdbench.methods.contract import Batch, Context, Method, Prepared, TeacherNeed, hyperparameter, method


def succession(context: Context, objective: Method, generations: int) -> tuple[nn.Module, ...]:
    """Generations 0 to `generations` - 1, each taught by the one before; the last is to teach the student."""
    assert context.teacher is not None
    networks = [context.teacher]
    for generation in range(1, generations):
        networks.append(context.train(f"generation-{generation}", objective, teacher=networks[-1]))
    return tuple(networks)


def confidence_weighted(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, each sample weighted by the teacher's highest probability.

    Logits (B, C), labels (B,); the weights are divided by their batch mean. In nats, mean over the batch.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    confidence = torch.softmax(teacher_logits.detach(), dim=1, dtype=dtype).amax(dim=1)
    each = F.cross_entropy(student_logits.to(dtype), labels, reduction="none")
    return (confidence / confidence.mean() * each).mean()


def permuted(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Logits (B, C) with all but the largest of each sample in an order drawn for that sample."""
    batch, classes = logits.shape
    best = logits.argmax(dim=1, keepdim=True)
    others = torch.arange(classes - 1, device=logits.device).expand(batch, -1)
    others = others + (others >= best)  # every class but the best, in order
    keys = torch.rand(batch, classes - 1, generator=generator, device=logits.device)
    shuffled = others.gather(1, keys.argsort(dim=1))
    return logits.scatter(1, others, logits.gather(1, shuffled))


@method("ban", source="arXiv:1805.04770")
@dataclass(frozen=True)
class Ban(Method):
    """Soft targets of the generation before at T = 1, no labels."""

    teacher: ClassVar[TeacherNeed] = "self"
    fixed: ClassVar[tuple[str, ...]] = ("generations",)

    generations: int = hyperparameter(1, "1 to 3; students in a row, each taught by the one before")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        require(1 <= self.generations <= 3, "generations", "1 to 3", self.generations)

    def prepare(self, context: Context) -> Prepared:
        """Train all generations but the last."""
        networks = succession(context, self, self.generations)
        return Prepared(teacher=networks[-1], members=networks)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: soft, KL to the teacher in nats."""
        return {"soft": soft_target(batch.student.logits, batch.teacher_outputs.logits, 1.0)}


@method("ban-cwtm", source="arXiv:1805.04770")
@dataclass(frozen=True)
class BanConfidenceWeighted(Ban):
    """Confidence weighted by teacher max: true labels alone, weighted by the teacher's confidence."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: hard, weighted cross-entropy in nats."""
        teacher = batch.teacher_outputs.logits
        return {"hard": confidence_weighted(batch.student.logits, teacher, batch.labels)}


@method("ban-dkpp", source="arXiv:1805.04770")
@dataclass(frozen=True)
class BanPermuted(Ban):
    """Dark knowledge with permuted predictions: the wrong classes' probabilities in a random order."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: soft, KL to the permuted teacher in nats."""
        teacher = permuted(batch.teacher_outputs.logits, batch.generator)
        return {"soft": soft_target(batch.student.logits, teacher, 1.0)}
