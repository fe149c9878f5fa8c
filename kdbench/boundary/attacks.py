"""Other sources of samples for boundary distillation: noise and adversarial attacks.

Heo et al. 2019 (BSS), arXiv:1805.05532, compare their search with such attacks. All have one signature,
`Source`, and none aims at a target class. `steps` of the result counts the gradients of the network that each
sample took.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbench.boundary.networks import evaluating, logits_of
from kdbench.boundary.search import BoundarySamples

PixelRange = tuple[Tensor, Tensor]  # normalised values of pixels 0 and 1; each broadcasts to the images


@dataclass(frozen=True)
class Budget:
    """How far and how long a source may go."""

    step_size: float  # > 0, in units of normalised images; see each source
    max_steps: int  # gradients of the network per sample, at most
    pixel_range: PixelRange  # bounds the images
    generator: torch.Generator  # on the images' device


CW_WEIGHT = 10.0  # of the misclassification against the squared L2 norm, in pixel units

# Moves images (B, c, h, w) of the classes `base` (B,), which the network predicts for them. Accepted are
# those that have left their base class; of noise, all.
Source = Callable[[nn.Module, Tensor, Tensor, Budget], BoundarySamples]


def noise(model: nn.Module, images: Tensor, base: Tensor, budget: Budget) -> BoundarySamples:
    """`step_size` up or down for every value by chance: FGSM's size in a random direction, no gradients."""
    signs = torch.randint(2, images.shape, generator=budget.generator, device=images.device) * 2 - 1
    moved = (images.detach() + budget.step_size * signs).clamp(*budget.pixel_range)
    accepted = torch.ones_like(base, dtype=torch.bool)
    return BoundarySamples(moved, accepted, torch.zeros_like(base, dtype=torch.int64))


def fgsm(model: nn.Module, images: Tensor, base: Tensor, budget: Budget) -> BoundarySamples:
    """Fast gradient sign method: `step_size` for every value, up the cross-entropy of the base class.

    Goodfellow et al. 2015, arXiv:1412.6572. One gradient.
    """
    return _sign_ascent(model, images, base, budget, updates=1)


def bim(model: nn.Module, images: Tensor, base: Tensor, budget: Budget) -> BoundarySamples:
    """Basic iterative method: `max_steps` sign steps of `step_size / max_steps`, so within FGSM's distance.

    Kurakin et al. 2017, arXiv:1607.02533. `max_steps` gradients.
    """
    return _sign_ascent(model, images, base, budget, updates=budget.max_steps)


def deepfool(model: nn.Module, images: Tensor, base: Tensor, budget: Budget) -> BoundarySamples:
    """DeepFool (L2) towards the second most probable class, by foolbox; `step_size` is not used.

    Moosavi-Dezfooli et al. 2016, arXiv:1511.04599. Two candidate classes, overshoot 0.02. At most `max_steps`
    gradients; it ends when all samples of the batch have left their class.
    """
    from foolbox.attacks import L2DeepFoolAttack

    attack = L2DeepFoolAttack(steps=budget.max_steps, candidates=2)
    return _with_foolbox(attack, model, images, base, budget)


def cw(model: nn.Module, images: Tensor, base: Tensor, budget: Budget) -> BoundarySamples:
    """Carlini & Wagner's L2 attack in one search of `max_steps` Adam steps, by foolbox.

    Carlini & Wagner 2017, arXiv:1608.04644. Adam's step is `step_size / max_steps` in the space of the
    attack, the inverse hyperbolic tangent of pixels in [-1, 1]. `max_steps` gradients. The weight of the
    misclassification is CW_WEIGHT; foolbox's 0.001 needs nine searches to grow. A sample for which nothing is
    found stays.
    """
    from foolbox.attacks import L2CarliniWagnerAttack

    attack = L2CarliniWagnerAttack(
        binary_search_steps=1,
        steps=budget.max_steps,
        stepsize=budget.step_size / budget.max_steps,
        initial_const=CW_WEIGHT,
        abort_early=False,
    )
    return _with_foolbox(attack, model, images, base, budget)


def _sign_ascent(
    model: nn.Module, images: Tensor, base: Tensor, budget: Budget, updates: int
) -> BoundarySamples:
    # an outer no_grad or inference_mode must not reach the gradient of the images
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        moved = images.detach().clone()
        for _ in range(updates):
            moved.requires_grad_()
            loss = functional.cross_entropy(logits_of(model, moved), base, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            step = budget.step_size / updates * gradient.sign()
            moved = (moved.detach() + step).clamp(*budget.pixel_range)
    return _finished(model, moved, base, updates)


def _with_foolbox(
    attack: Any, model: nn.Module, images: Tensor, base: Tensor, budget: Budget
) -> BoundarySamples:
    if len(images) == 0:  # foolbox cannot take that
        return _finished(model, images.detach(), base, 0)
    from foolbox import PyTorchModel

    low, high = (bound.to(images) for bound in budget.pixel_range)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model), _frozen(model):
        start = images.detach().clone()
        network = _OfPixels(model, low, high - low).eval()
        adversary = PyTorchModel(network, bounds=(0, 1), device=images.device)
        pixels = ((start - low) / (high - low)).clamp(0, 1)
        _, pixels, _ = attack(adversary, pixels, base.clone(), epsilons=None)
        # foolbox gives an image of zeros where Carlini & Wagner's attack found nothing
        found = pixels.flatten(1).any(1).view(-1, *[1] * (images.dim() - 1))
        moved = torch.where(found, low + pixels * (high - low), start)
    return _finished(model, moved, base, network.gradients)


@torch.no_grad()
def _finished(model: nn.Module, moved: Tensor, base: Tensor, gradients: int) -> BoundarySamples:
    with evaluating(model):
        accepted = logits_of(model, moved).argmax(1) != base
    return BoundarySamples(moved, accepted, torch.full_like(base, gradients, dtype=torch.int64))


class _OfPixels(nn.Module):
    """The network as a function of pixels in [0, 1], which foolbox needs; counts the gradients taken."""

    def __init__(self, model: nn.Module, low: Tensor, width: Tensor):
        super().__init__()
        self.model = model
        self.low, self.width = low, width
        self.gradients = 0

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.requires_grad:
            pixels.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits_of(self.model, self.low + pixels * self.width)

    def _count(self, gradient: Tensor) -> None:
        self.gradients += 1


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradients of the parameters inside: foolbox would add them to their `.grad`."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()
