"""Batches on the training device: which images, augmented and normalised, without a loop over samples."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

PerChannel = Sequence[float] | Tensor  # (c,)


class Sampler(Iterator[Tensor]):
    """Batches of indices cut from an endless sequence of passes over n samples.

    A pass is a shuffle of all samples, or, with `weights`, n draws with replacement. A batch may straddle two
    passes; all have the size min(batch_size, n). The generator must belong to the sampler alone: then the
    batches depend only on its seed, and `skip` resumes exactly.
    """

    def __init__(self, n: int, batch_size: int, generator: torch.Generator, weights: Tensor | None = None):
        """Raises ValueError for sizes below 1, and for weights not non-negative, of positive sum and n."""
        if n < 1 or batch_size < 1:
            raise ValueError(
                f"a sampler needs samples and a batch size of at least 1, given {n} and {batch_size}"
            )
        self.n = n
        self.batch_size = min(batch_size, n)
        self.updates = 0  # batches given so far
        self._generator = generator
        self._cumulative = None if weights is None else _cumulative(weights, n).to(generator.device)
        self._pass = torch.empty(0, dtype=torch.int64, device=generator.device)
        self._position = 0

    def __next__(self) -> Tensor:
        """(batch_size,) int64 indices on the generator's device."""
        parts, missing = [], self.batch_size
        while missing:
            if self._position == len(self._pass):
                self._pass, self._position = self._draw_pass(), 0
            part = self._pass[self._position : self._position + missing]
            parts.append(part)
            self._position += len(part)
            missing -= len(part)
        self.updates += 1
        return torch.cat(parts)

    def skip(self, updates: int) -> None:
        """Go on as if `updates` more batches had been drawn."""
        samples = updates * self.batch_size
        while samples > len(self._pass) - self._position:
            samples -= len(self._pass) - self._position
            self._pass, self._position = self._draw_pass(), 0
        self._position += samples
        self.updates += updates

    def _draw_pass(self) -> Tensor:
        device = self._generator.device
        if self._cumulative is None:
            return torch.randperm(self.n, generator=self._generator, device=device)
        points = torch.rand(self.n, generator=self._generator, device=device, dtype=torch.float64)
        drawn = torch.searchsorted(self._cumulative, points * self._cumulative[-1], right=True)
        return drawn.clamp_(max=self.n - 1)


def _cumulative(weights: Tensor, n: int) -> Tensor:
    total = weights.double().cumsum(0)
    if weights.shape != (n,) or not (bool((weights >= 0).all()) and 0 < float(total[-1]) < float("inf")):
        raise ValueError(f"sampling weights must be {n} non-negative numbers with a positive sum")
    return total


def augment(images: Tensor, kind: str, shift: int, generator: torch.Generator) -> Tensor:
    """Randomly moved and mirrored copies of uint8 images (B, c, h, w); what moves in is black (0).

    `kind`: "none"; "shift", by at most `shift` pixels each way; "crop", by at most an eighth of the side (4
    pixels at 32x32, the papers' pad-4 crop); "crop-flip", crop and mirror every other image, by chance. The
    generator is on the images' device. Raises ValueError for another kind.
    """
    if kind == "none":
        return images
    if kind == "shift":
        return _moved(images, shift, shift, generator)
    if kind not in ("crop", "crop-flip"):
        raise ValueError(f"unknown augmentation {kind!r}")
    height, width = images.shape[-2:]
    cropped = _moved(images, max(1, height // 8), max(1, width // 8), generator)
    if kind == "crop":
        return cropped
    heads = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(heads.view(-1, 1, 1, 1), cropped.flip(-1), cropped)


def _moved(images: Tensor, vertical: int, horizontal: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    padded = functional.pad(images, (horizontal, horizontal, vertical, vertical))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, c, 2v+1, 2h+1, h, w)
    down = torch.randint(2 * vertical + 1, (count,), generator=generator, device=images.device)
    right = torch.randint(2 * horizontal + 1, (count,), generator=generator, device=images.device)
    return windows[torch.arange(count, device=images.device), :, down, right]


def normalise(images: Tensor, mean: PerChannel, std: PerChannel) -> Tensor:
    """Float32 network inputs of uint8 images (B, c, h, w): (pixel / 255 - mean) / std, per channel."""
    scale, offset = 1 / (255 * _channels(std, images.device)), _channels(mean, images.device)
    return images.to(torch.float32).sub_(255 * offset).mul_(scale)


def pixel_range(
    mean: PerChannel, std: PerChannel, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """The normalised values of pixels 0 and 1, each (1, c, 1, 1) float32."""
    centre, scale = _channels(mean, device), _channels(std, device)
    return -centre / scale, (1 - centre) / scale


def _channels(values: PerChannel, device: str | torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
