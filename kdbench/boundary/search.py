"""The search for boundary supporting samples: images moved from their class to the boundary of another one.

Source: Heo et al. 2019 (BSS), arXiv:1805.05532, and the authors' code, which is followed where the two
differ.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kdbench.boundary.networks import evaluating, logits_of

StepRule = Literal["authors", "linearised"]
Bound = float | Tensor


@dataclass(frozen=True)
class BoundarySamples:
    """Moved copies of B images, and how the search for each of them ended."""

    images: Tensor  # (B, c, h, w), detached
    accepted: Tensor  # (B,) bool
    steps: Tensor  # (B,) int64, updates made: each took one gradient of the network


def boundary_supporting_samples(  # noqa: PLR0913
    model: nn.Module,
    images: Tensor,
    base: Tensor,
    target: Tensor,
    *,
    step_size: float,
    epsilon: float,
    max_steps: int,
    clip: tuple[Bound, Bound] | None = None,
    step_rule: StepRule = "authors",
    keep_other_classes: bool = False,
) -> BoundarySamples:
    """Move each image down `L = f_base − f_target`, on the logits f, until it leaves its base class.

    "authors": `x ← x − η (L + ε) ∇L / ‖∇L‖₂`, L2 norm per sample, η the step size. "linearised": divided by
    `‖∇L‖₂²`, DeepFool's scale, with which η = 1 lands just across the boundary of a linear network. A sample
    is classified before each update and once after the last one; it stops for good when its prediction leaves
    the base class, or after `max_steps` updates. One that is not in its base class at the start stays
    unchanged. Where the gradient is zero the update moves nothing.

    `images` (B, c, h, w) are what `model` takes, `base` and `target` (B,) int64 with base ≠ target. `clip`
    (low, high), floats or tensors that broadcast to `images`, bounds the image after each update. `accepted`
    are samples that end in the target class; with `keep_other_classes` in any class but the base (the authors
    keep all samples, even those still in the base class). Only samples under way pass through the network, B
    + steps.sum() in all. It is evaluated in eval mode; its own mode, parameters and their gradients stay as
    they are. Raises ValueError for another step rule.
    """
    if step_rule not in ("authors", "linearised"):
        raise ValueError(f"unknown step rule {step_rule!r}; allowed: authors, linearised")
    # An outer no_grad or inference_mode must not reach the gradient of the images, nor an outer autocast the
    # steps: a difference of two logits near the boundary is lost in bfloat16.
    exact = torch.autocast(images.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), exact, evaluating(model):
        moved = images.detach().clone()
        prediction, steps = base.clone(), torch.zeros_like(base, dtype=torch.int64)
        bounds = _expanded(clip, moved)
        live = torch.arange(len(moved), device=moved.device)
        for update in range(max_steps + 1):
            if len(live) == 0:
                break
            current = moved[live].requires_grad_(update < max_steps)
            logits = logits_of(model, current)
            prediction[live] = logits.argmax(1)
            inside = prediction[live] == base[live]
            if update == max_steps or not inside.any():
                break
            live = live[inside]
            difference = _difference(logits[inside], base[live], target[live])
            gradient = _gradient(difference, current)[inside]
            step = _step(difference.detach() + epsilon, gradient, step_rule)
            moved[live] = _clamped(moved[live] - step_size * step, bounds, live)
            steps[live] += 1
    left = prediction != base
    return BoundarySamples(moved, left if keep_other_classes else left & (prediction == target), steps)


def _difference(logits: Tensor, base: Tensor, target: Tensor) -> Tensor:
    """(n,) by how much each sample prefers its base class to its target."""
    return (logits.gather(1, base[:, None]) - logits.gather(1, target[:, None])).squeeze(1)


def _gradient(values: Tensor, images: Tensor) -> Tensor:
    """Of the sum of `values`; zero for a network that does not look at its images."""
    if not values.requires_grad:
        return torch.zeros_like(images)
    return torch.autograd.grad(values.sum(), images, materialize_grads=True)[0]


def _step(length: Tensor, gradient: Tensor, rule: StepRule) -> Tensor:
    """(n, c, h, w) unit gradients times length, "linearised" over their norm; 0 where that is 0."""
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    norm = torch.where(norm > 0, norm, torch.inf)
    if rule == "linearised":
        length = length / norm
    return gradient / _per_image(norm, gradient) * _per_image(length.to(gradient.dtype), gradient)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.view(-1, *[1] * (images.dim() - 1))


def _expanded(clip: tuple[Bound, Bound] | None, images: Tensor) -> tuple[Tensor, Tensor] | None:
    """The bounds as views of the shape of `images`, so that those of single samples can be picked."""
    if clip is None:
        return None
    low, high = (torch.as_tensor(bound, dtype=images.dtype, device=images.device) for bound in clip)
    return low.expand_as(images), high.expand_as(images)


def _clamped(images: Tensor, bounds: tuple[Tensor, Tensor] | None, live: Tensor) -> Tensor:
    return images if bounds is None else images.clamp(bounds[0][live], bounds[1][live])
