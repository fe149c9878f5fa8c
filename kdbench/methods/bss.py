"""Boundary supporting samples: also match the teacher on images moved to its decision boundary.

Source: Heo et al. 2019, arXiv:1805.05532, with the authors' code where the two differ. Both soft terms are
cross-entropies at temperature T without T² there; here they are `soft_target / T²`, the same up to the
teacher's entropy, which is constant. The labels keep weight 1. Over the progress e of the training, `1 + a
(1 - e)` weighs the soft targets and `max(b (1 - 4 e / 3), 0)` the boundary samples, so that nothing is
searched in the last quarter. Where that code clamps normalised images to ±2.5, keeps every searched sample,
also one that has not left its class, and asks only the teacher to be right about a base sample, here images
stay within the range of pixels, those that reach the target class count, and student and teacher are both
right (the paper).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.boundary import (
    BoundarySamples,
    boundary_supporting_samples,
    draw_targets,
    select_base_samples,
)
from kdbench.losses import soft_target
from kdbench.methods.contract import Batch, Method, hyperparameter, method
from kdbench.methods.ranges import at_least_one, not_negative, positive


@dataclass(frozen=True)
class MovedSamples(Method):
    """Base of the methods that distil on the batch and on moved samples; they differ in what moves them."""

    alpha: float = hyperparameter(3.0, ">= 0; the soft targets' weight falls from 1 + alpha to 1")
    beta: float = hyperparameter(2.0, ">= 0; the moved samples' weight falls from beta to 0 at 3/4")
    temperature: float = hyperparameter(3.0, "> 0; divides both logits in both soft terms")
    base_samples: int = hyperparameter(64, ">= 1; at most so many images of a batch are moved")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        not_negative(self, "alpha", "beta")
        positive(self, "temperature")
        at_least_one(self, "base_samples")

    @abstractmethod
    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Move the images `chosen` (indices into the batch); `network` is the teacher."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft and boundary (0 where no sample is chosen or accepted).

        Watched: base_samples chosen, the share `accepted` of them and their mean `steps`, the mean L2 norm of
        the accepted `perturbation`, and teacher_gradients taken.
        """
        student, teacher = batch.student.logits, batch.teacher_outputs.logits
        alpha = 1 + self.alpha * (1 - batch.progress)
        beta = max(self.beta * (1 - 4 * batch.progress / 3), 0.0)
        terms = {
            "hard": F.cross_entropy(student, batch.labels),
            "soft": alpha * self._soft(student, teacher),
            "boundary": student.sum() * 0.0,  # a zero that has a gradient, also where it is the only term
        }
        if beta > 0:
            moved = self._accepted(batch)
            if len(moved) > 0:
                terms["boundary"] = beta * self._on_moved(batch, moved)
        return terms

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        return soft_target(student, teacher, self.temperature) / self.temperature**2

    def _accepted(self, batch: Batch) -> Tensor:
        """The moved images that count, (n, c, h, w); what became of all goes into `batch.watched`."""
        assert batch.teacher_model is not None
        chosen = select_base_samples(
            batch.student.logits, batch.teacher_outputs.logits, batch.labels, self.base_samples
        )
        batch.watched["base_samples"] = chosen.new_tensor(len(chosen))
        if len(chosen) == 0:
            return batch.images[:0]
        samples = self.move(batch, batch.teacher_model, chosen)
        accepted = samples.images[samples.accepted]
        batch.watched["teacher_gradients"] = samples.steps.sum()
        batch.watched["accepted"] = samples.accepted.float().mean()
        batch.watched["steps"] = samples.steps.float().mean()
        if len(accepted) > 0:
            way = accepted - batch.images[chosen][samples.accepted]
            batch.watched["perturbation"] = way.flatten(1).float().norm(dim=1).mean()
        return accepted

    def _on_moved(self, batch: Batch, moved: Tensor) -> Tensor:
        """Mean soft loss on the moved images, which pass through the student in a batch of their own."""
        assert batch.teacher_model is not None
        if len(moved) == 1:
            # Batch normalisation of 1x1 maps has no statistics of one image; two of it have the same as one.
            moved = moved.expand(2, *moved.shape[1:])
        with torch.no_grad():
            teacher = batch.teacher_model(moved).logits
        return self._soft(batch.student_model(moved).logits, teacher)


@method("bss", source="arXiv:1805.05532")
@dataclass(frozen=True)
class Bss(MovedSamples):
    """Samples moved to the boundary between their class and one that the teacher may take it for."""

    extra: ClassVar[tuple[str, ...]] = (
        "beta",
        "temperature",
        "base_samples",
        "step_size",
        "epsilon",
        "max_steps",
    )

    step_size: float = hyperparameter(0.3, "> 0; of the search, times the difference of the two logits")
    epsilon: float = hyperparameter(1e-4, "> 0; logits; how far beyond the boundary a step aims")
    max_steps: int = hyperparameter(10, ">= 1; updates of a sample before it is given up")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "step_size", "epsilon")
        at_least_one(self, "max_steps")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """The authors' search on the teacher, within the range of pixels."""
        labels = batch.labels[chosen]
        targets = draw_targets(batch.teacher_outputs.logits[chosen], labels, batch.generator)
        return boundary_supporting_samples(
            network,
            batch.images[chosen],
            labels,
            targets,
            step_size=self.step_size,
            epsilon=self.epsilon,
            max_steps=self.max_steps,
            clip=batch.pixel_range,
        )
