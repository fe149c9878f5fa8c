"""What a training shows its networks: images, augmented or not, and what the teacher says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench import data
from kdbench.data import Facts, Images
from kdbench.models import Outputs
from kdbench.seeds import derive
from kdbench.training.precision import autocast, to_device

# Everything the teacher says is kept where it fits into this many bytes; otherwise its logits alone, and
# deeper outputs are computed when a method asks for them. A constant: equal trainings take equal ways.
REMEMBERED_BYTES = 256 * 2**20
_CHUNK = 512  # images of one forward when the teacher is asked beforehand


class Pixels:
    """A data set's normalisation on one device."""

    def __init__(self, facts: Facts, device: torch.device):
        self.mean = torch.tensor(facts.mean, device=device)
        self.std = torch.tensor(facts.std, device=device)
        self.range = data.pixel_range(facts.mean, facts.std, device)  # normalised pixel values 0 and 1
        self.device = device

    def __call__(self, images: Tensor) -> Tensor:
        """Network inputs of uint8 images (B, c, h, w)."""
        return to_device(data.normalise(images, self.mean, self.std), self.device)


@dataclass(frozen=True)
class Views:
    """How training images are varied, and how often the teacher looks at them."""

    augment: str  # none | shift | crop | crop-flip
    shift: int  # pixels
    fixed: int  # views made beforehand, one of which is drawn each time; 0: made anew each time
    remember: bool  # the teacher's outputs, which must then be of fixed or of unaugmented images


def plan_views(augment: str, facts: Facts, views: str | int, taught: bool) -> Views:
    """What `views:` (auto | none | live | k) means for a training with this augmentation.

    Student and teacher always see the same image: `none` augments neither, k draws from k fixed augmented
    views of each image. Without a teacher `views` says nothing.
    """
    kind = facts.augment if augment == "auto" else augment
    if not taught:
        return Views(kind, facts.shift, fixed=0, remember=False)
    if views == "none" or (kind == "none" and views != "live"):
        return Views("none", facts.shift, fixed=0, remember=True)
    if isinstance(views, int):
        return Views(kind, facts.shift, fixed=views, remember=True)
    return Views(kind, facts.shift, fixed=0, remember=False)


class Feed:
    """The batches of one training."""

    def __init__(self, images: Images, pixels: Pixels, views: Views, teacher: nn.Module | None, seed: int):
        self._pixels, self._views, self._teacher = pixels, views, teacher
        self._labels, self._size = images.labels, len(images)
        self._images = _fixed_views(images.images, views, seed) if views.fixed else images.images
        self._memory: Memory | None = None
        if views.remember and teacher is not None:
            self._memory = Memory(teacher, self._images, pixels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Outputs | None]:
        """Normalised images (B, c, h, w), labels (B,) and the teacher's outputs for `indices` (B,)."""
        labels = self._labels[indices]
        if self._views.fixed:
            draws = torch.randint(self._views.fixed, indices.shape, generator=generator, device=labels.device)
            indices = indices + self._size * draws
        pixels = self._images[indices]
        if not self._views.fixed:
            pixels = data.augment(pixels, self._views.augment, self._views.shift, generator)
        images = self._pixels(pixels)
        if self._teacher is None:
            return images, labels, None
        if self._memory is None:
            return images, labels, ask(self._teacher, images)
        return images, labels, self._memory.recall(indices, images)


def ask(teacher: nn.Module, images: Tensor) -> Outputs:
    """What the teacher says of normalised images (in inference mode losses could not save its tensors)."""
    with torch.no_grad(), autocast(images.device):
        outputs = teacher(images)
    assert isinstance(outputs, Outputs)  # noqa: S101 - for mypy
    return outputs


def _fixed_views(images: Tensor, views: Views, seed: int) -> Tensor:
    """(k * N, c, h, w): all images in a first view, then all in a second, …"""
    made = []
    for number in range(views.fixed):
        generator = torch.Generator(images.device).manual_seed(derive(seed, "view", number))
        made.append(data.augment(images, views.augment, views.shift, generator))
    return torch.cat(made)


class Memory:
    """What a teacher said of every image, asked once."""

    def __init__(self, teacher: nn.Module, images: Tensor, pixels: Pixels):
        self._teacher = teacher
        parts: list[list[Tensor]] = []
        for chunk in torch.split(images, _CHUNK):
            outputs = ask(teacher, pixels(chunk))
            if not parts:
                self._whole = _size(outputs) * (len(images) / len(chunk)) <= REMEMBERED_BYTES
                self._features, self._preacts = len(outputs.features), len(outputs.preacts)
            parts.append(_tensors(outputs) if self._whole else [outputs.logits])
        self._kept = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def recall(self, indices: Tensor, images: Tensor) -> Outputs:
        """The outputs for the images at `indices`, which are `images` (normalised)."""
        if not self._whole:
            return LazyOutputs(self._kept[0][indices], lambda: ask(self._teacher, images))
        logits, embedding, *rest = (tensor[indices] for tensor in self._kept)
        return Outputs(logits, tuple(rest[: self._features]), tuple(rest[self._features :]), embedding)


class LazyOutputs(Outputs):
    """Outputs of which the logits are known and the rest is computed when it is first looked at."""

    compute: Callable[[], Outputs]

    def __init__(self, logits: Tensor, compute: Callable[[], Outputs]):
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "compute", compute)

    def __getattr__(self, name: str) -> object:
        """Called for what is not there yet."""
        if name not in ("features", "preacts", "embedding"):
            raise AttributeError(name)
        outputs = self.compute()
        for field in ("features", "preacts", "embedding"):
            object.__setattr__(self, field, getattr(outputs, field))
        return getattr(outputs, name)


def _tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs.logits, outputs.embedding, *outputs.features, *outputs.preacts]


def _size(outputs: Outputs) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(outputs))
