"""Relations between the embeddings of a batch: what `kdbench.losses.relational_*` are made of.

Both start from the Gram matrix of the centred embeddings: a B×B×d tensor of differences would not fit where
batches are large. Centring keeps the matrix accurate when all embeddings share a large offset.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Elements of the largest intermediate of the angle loss (at least B², one vertex): on a CPU what fits its
# cache, on other devices what keeps them busy.
CHUNKS = {"cpu": 2**17, "other": 2**22}


def full_precision(x: Tensor) -> torch.autocast:
    """Matrix products inside keep the dtype of x, even under autocast."""
    return torch.autocast(x.device.type, enabled=False)


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """See `kdbench.losses.relational_distance`; both of one dtype, the teacher detached."""
    ours, any_ours = _relative_distances(student)
    theirs, any_theirs = _relative_distances(teacher)
    return torch.where(any_ours & any_theirs, functional.smooth_l1_loss(ours, theirs), 0)


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """See `kdbench.losses.relational_angle`; both of one dtype, the teacher detached."""
    loss: Tensor = _AngleLoss.apply(*_gram_and_inverse(student), *_gram_and_inverse(teacher))  # type: ignore[no-untyped-call]
    return loss


def _squared_distances(embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of embeddings (B, d): the centred Gram matrix, squared distances, and which pairs differ; (B, B) each.

    Rounding leaves a little where two embeddings are equal, and that would count as positive and have an
    enormous gradient. Which pairs differ is therefore taken from exact differences (this form of cdist adds
    them up one by one and stores none).
    """
    with full_precision(embeddings):
        centred = embeddings - embeddings.mean(0)
        gram = centred @ centred.T
        exact = centred.detach()
        differ = torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist") > 0
    norms = gram.diagonal()
    return gram, (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0), differ


def _relative_distances(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) distances over the mean of the positive ones, and whether there is a positive one (0-d bool)."""
    _, squared, differ = _squared_distances(embeddings)
    smooth = differ & (squared > 0)  # the square root has no gradient at 0
    distances = torch.where(smooth, torch.where(smooth, squared, 1).sqrt(), 0)
    total = distances.sum()
    return distances * differ.sum() / torch.where(total > 0, total, 1), total > 0


def _gram_and_inverse(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The Gram matrix and the inverse distances, 0 between equal embeddings: (B, B) each."""
    gram, squared, differ = _squared_distances(embeddings)
    smooth = differ & (squared > 0)
    return gram, torch.where(smooth, torch.where(smooth, squared, 1).rsqrt(), 0)


class _AngleLoss(torch.autograd.Function):
    """Mean smooth-L1 over B³ cosines, computed and differentiated in chunks over the vertex j.

    Autograd would keep every B×B×B intermediate; the backward pass here computes the cosines again. It
    consists of differentiable operations, so that higher derivatives are right too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(gram: Tensor, inverse: Tensor, teacher_gram: Tensor, teacher_inverse: Tensor) -> Tensor:
        total = gram.new_zeros(())
        chunks = zip(_angles(gram, inverse), _angles(teacher_gram, teacher_inverse), strict=True)
        for (_, ours), (_, theirs) in chunks:
            total = total + functional.smooth_l1_loss(ours, theirs, reduction="sum")
        return total / len(gram) ** 3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gram, inverse, *teacher = ctx.saved_tensors
        scale = gradient / len(gram) ** 3
        by_gram, per_vertex, by_inverse = (torch.zeros_like(gram) for _ in range(3))
        chunks = zip(_slices(gram), _angles(gram, inverse), _angles(*teacher), strict=True)
        for (start, end), (inner, ours), (_, theirs) in chunks:
            by_cosine = (ours - theirs).clamp(-1, 1) * scale  # derivative of smooth-L1, beta 1
            inverses = inverse[start:end]
            by_inner = by_cosine * inverses[:, :, None] * inverses[:, None, :]
            by_gram = by_gram + by_inner.sum(0)
            per_vertex = per_vertex.slice_scatter(by_inner.sum(2), 0, start, end)
            by_own = 2 * (by_cosine * inner * inverses[:, None, :]).sum(2)
            by_inverse = by_inverse.slice_scatter(by_own, 0, start, end)
        # inner = G_ik − G_ji − G_jk + G_jj, symmetric in i and k
        by_gram = by_gram - 2 * per_vertex + torch.diag(per_vertex.sum(1))
        return by_gram, by_inverse, None, None


def _slices(gram: Tensor) -> list[tuple[int, int]]:
    size = len(gram)
    step = max(1, CHUNKS["cpu" if gram.device.type == "cpu" else "other"] // size**2)
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _angles(gram: Tensor, inverse: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Inner products of e_i − e_j and e_k − e_j, and their cosines: (chunk of j, i, k) each."""
    for start, end in _slices(gram):
        to_vertex, inverses = gram[start:end], inverse[start:end]
        own = gram.diagonal()[start:end]
        inner = gram - to_vertex[:, :, None] - to_vertex[:, None, :] + own[:, None, None]
        yield inner, inner * inverses[:, :, None] * inverses[:, None, :]
