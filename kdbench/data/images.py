"""The one in-memory form of every data set: uint8 pixels and integer labels."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Some images of one size and their labels, on one device."""

    images: Tensor  # (N, c, h, w) uint8
    labels: Tensor  # (N,) int64, from 0

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> "Images":
        """The same images on `device`."""
        return Images(self.images.to(device), self.labels.to(device))

    def pick(self, indices: Tensor) -> "Images":
        """The images at `indices` (int64, on this device), in that order."""
        return Images(self.images[indices], self.labels[indices])


def content_hash(training: Images, test: Images) -> str:
    """SHA-256 (64 hex digits) over shape, pixels and labels of both splits."""
    digest = hashlib.sha256()
    for split in (training, test):
        digest.update(repr(tuple(split.images.shape)).encode())
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.numpy().astype("<i8", order="C", copy=False).data)
    return digest.hexdigest()


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images (N, c, h, w), of pixels in [0, 1].

    Exact, by counting the 256 pixel values. A constant channel gets standard deviation 1: nothing to scale.
    """
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).double().numpy()
        mean = float(values @ counts / counts.sum())
        variance = float((values - mean) ** 2 @ counts / counts.sum())
        means.append(round(mean, 4))
        stds.append(round(variance**0.5, 4) or 1.0)
    return tuple(means), tuple(stds)
