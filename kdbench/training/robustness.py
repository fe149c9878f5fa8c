"""Accuracy under attack: what is left when every image may change by a little in each pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbench.data import Images
from kdbench.seeds import derive
from kdbench.training.inputs import Pixels

EPSILON = 8 / 255  # largest change of a pixel, of pixels in [0, 1]
STEP = 2 / 255  # of PGD
STEPS = 10  # of PGD
MOST_IMAGES = 1000  # attacked at most; drawn once for ever, since a test split may be sorted by class


def attacked(test: Images) -> Images:
    """The images that are attacked: all of a small test split, else the same 1,000 every time."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(derive(0, "attacked")))
    return test.pick(order[:MOST_IMAGES].sort().values.to(test.labels.device))


def robust_accuracy_fgsm(model: nn.Module, test: Images, pixels: Pixels) -> float:
    """Accuracy after one step of size EPSILON along the sign of the gradient, `model` in eval mode.

    Source: Goodfellow et al. 2015, arXiv:1412.6572.
    """
    images = pixels(test.images)
    moved = _stepped(model, images, test.labels, EPSILON, pixels)
    return float(_right(model, moved, test.labels).double().mean())


def robust_accuracy_pgd(model: nn.Module, test: Images, pixels: Pixels) -> float:
    """Share of images that neither are wrong at first nor become so in any of STEPS projected steps.

    Source: Madry et al. 2018, arXiv:1706.06083: L∞ ball of EPSILON, steps of STEP, a random start. An image
    once wrong is lost and not attacked further.
    """
    images, labels = pixels(test.images), test.labels
    radius = EPSILON / pixels.std.view(1, -1, 1, 1)
    low, high = pixels.range
    generator = torch.Generator(images.device).manual_seed(derive(0, "attack"))
    noise = torch.empty_like(images).uniform_(-1, 1, generator=generator)
    moved = (images + radius * noise).clamp(low, high)
    right = _right(model, images, labels) & _right(model, moved, labels)
    images, moved, labels = images[right], moved[right], labels[right]
    for _ in range(STEPS):
        if not len(labels):
            break
        moved = _stepped(model, moved, labels, STEP, pixels)
        moved = torch.minimum(torch.maximum(moved, images - radius), images + radius)
        right = _right(model, moved, labels)
        images, moved, labels = images[right], moved[right], labels[right]
    return len(labels) / len(test)


def _stepped(model: nn.Module, images: Tensor, labels: Tensor, size: float, pixels: Pixels) -> Tensor:
    """One step up the loss, by `size` in every pixel, inside the pixel range."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = functional.cross_entropy(model(images).logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    low, high = pixels.range
    return (images.detach() + size / pixels.std.view(1, -1, 1, 1) * gradient.sign()).clamp(low, high)


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return torch.as_tensor(model(images).logits.argmax(1) == labels)
