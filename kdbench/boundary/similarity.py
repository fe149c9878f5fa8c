"""How alike the decision boundaries of two networks are around the same images.

Source: Heo et al. 2019 (BSS), arXiv:1805.05532, section 4.4. A perturbation is the way from a base image to
its boundary supporting sample.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.boundary.networks import evaluating, logits_of
from kdbench.boundary.search import Bound, boundary_supporting_samples
from kdbench.boundary.selection import draw_targets


@dataclass(frozen=True)
class BoundarySimilarity:
    """Two similarities and on how many pairs of boundary supporting samples they rest."""

    magsim: float  # in [0, 1]; NaN without a pair
    angsim: float  # in [-1, 1]; NaN without a pair
    pairs: int


def magnitude_similarity(student_perturbations: Tensor, teacher_perturbations: Tensor) -> Tensor:
    """MagSim, the mean of `min(‖x̄_s‖, ‖x̄_t‖) / max(‖x̄_s‖, ‖x̄_t‖)`; 0-d, in [0, 1].

    Perturbations (N, …) are flattened. Two zero ones count 1, one zero one counts 0; NaN for N = 0.
    """
    student, teacher = (_norms(_flat(x)).squeeze(1) for x in (student_perturbations, teacher_perturbations))
    larger = torch.maximum(student, teacher)
    return torch.where(larger > 0, torch.minimum(student, teacher) / larger, 1).mean()


def angle_similarity(student_perturbations: Tensor, teacher_perturbations: Tensor) -> Tensor:
    """AngSim, the mean cosine of the angle between `x̄_s` and `x̄_t`; 0-d, in [-1, 1].

    Perturbations (N, …) are flattened. Two zero ones count 1, one zero one counts 0; NaN for N = 0.
    """
    student, teacher = _flat(student_perturbations), _flat(teacher_perturbations)
    student_norms, teacher_norms = _norms(student), _norms(teacher)
    cosines = (_unit(student, student_norms) * _unit(teacher, teacher_norms)).sum(1)
    both_zero = ((student_norms == 0) & (teacher_norms == 0)).squeeze(1)
    return torch.where(both_zero, 1, cosines).mean()


def boundary_similarity(  # noqa: PLR0913
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    step_size: float = 0.3,
    epsilon: float = 1e-4,
    max_steps: int = 10,
    clip: tuple[Bound, Bound] | None = None,
    count: int | None = None,
    batch_size: int = 256,
) -> BoundarySimilarity:
    """MagSim and AngSim of the samples found from the same base images and target classes on each network.

    Base images are the first `count` (None: all) of `images` (n, c, h, w) that both networks classify right;
    targets are drawn as in training, from the teacher. A pair counts where both searches end in the target
    class. Both networks run in eval mode, `batch_size` images at a time; settings of the search as in
    `boundary_supporting_samples`, bounds of `clip` without a batch axis or with one of size 1.
    """
    student_logits, teacher_logits = (_predicted(model, images, batch_size) for model in (student, teacher))
    right = (student_logits.argmax(1) == labels) & (teacher_logits.argmax(1) == labels)
    chosen = right.nonzero().squeeze(1)[:count]
    targets = draw_targets(teacher_logits[chosen], labels[chosen], generator)
    ours, theirs = [images[:0]], [images[:0]]
    for batch, target in zip(torch.split(chosen, batch_size), torch.split(targets, batch_size), strict=True):
        own, other = (
            boundary_supporting_samples(
                model,
                images[batch],
                labels[batch],
                target,
                step_size=step_size,
                epsilon=epsilon,
                max_steps=max_steps,
                clip=clip,
            )
            for model in (student, teacher)
        )
        both = own.accepted & other.accepted
        ours.append((own.images - images[batch])[both])
        theirs.append((other.images - images[batch])[both])
    pair = torch.cat(ours), torch.cat(theirs)
    return BoundarySimilarity(
        magnitude_similarity(*pair).item(), angle_similarity(*pair).item(), len(pair[0])
    )


@torch.no_grad()
def _predicted(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    with evaluating(model):
        return torch.cat([logits_of(model, batch) for batch in torch.split(images, batch_size)])


def _flat(perturbations: Tensor) -> Tensor:
    flat = perturbations.flatten(1)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _norms(flat: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return norms


def _unit(flat: Tensor, norms: Tensor) -> Tensor:
    return flat / torch.where(norms > 0, norms, 1)
