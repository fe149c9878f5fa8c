"""The data sets that torchvision reads and can download: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100, SVHN.

The CIFARs are pickles; torchvision opens them only where their checksums are those of the originals.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from kdbench.data.images import Images
from kdbench.data.source import Part, data_root, missing
from kdbench.data.spec import DatasetSpec
from kdbench.errors import Mistake, UserError

# name -> (torchvision's class, files that are the data set, relative to the root)
_SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mnist": ("MNIST", ("MNIST/raw/*-ubyte",)),
    "fashion-mnist": ("FashionMNIST", ("FashionMNIST/raw/*-ubyte",)),
    "cifar10": ("CIFAR10", ("cifar-10-batches-py/*",)),
    "cifar100": ("CIFAR100", ("cifar-100-python/*",)),
    "svhn": ("SVHN", ("train_32x32.mat", "test_32x32.mat")),
}
# torchvision's answers to missing and damaged files.
_DAMAGE = (RuntimeError, FileNotFoundError, ValueError, AssertionError)
_HOW_TO_DOWNLOAD = "; `dataset: {name: …, download: true}` downloads it"


@dataclass(frozen=True)
class Vision:
    """A Source in torchvision's layout."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split, downloaded first where the spec allows it and they are missing."""
        data = self._open(part)
        pixels = torch.as_tensor(data.data)
        if pixels.ndim == 3:  # greys: (N, h, w)
            pixels = pixels.unsqueeze(1)
        elif self.spec.name.startswith("cifar"):  # (N, h, w, c)
            pixels = pixels.permute(0, 3, 1, 2)
        labels = data.labels if self.spec.name == "svhn" else data.targets
        return Images(pixels.contiguous(), torch.as_tensor(np.asarray(labels), dtype=torch.int64))

    def classes(self) -> tuple[str, ...]:
        """The names that torchvision gives them; the digits' are their numbers."""
        if self.spec.name in ("svhn", "mnist"):
            return tuple("0123456789")
        return tuple(map(str, self._open("test").classes))

    def files(self) -> list[Path]:
        """The extracted files."""
        root = data_root(self.spec)
        return sorted(path for pattern in _SETS[self.spec.name][1] for path in root.glob(pattern))

    def note(self) -> str:
        """Nothing to say."""
        return ""

    def _open(self, part: Part) -> Any:
        try:
            return self._construct(part, download=False)
        except _DAMAGE as absent:
            if not self.spec.download:
                raise missing(self.spec, "the files in torchvision's layout", _HOW_TO_DOWNLOAD) from absent
        return self._download(part)

    def _download(self, part: Part) -> Any:
        root = data_root(self.spec)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.spec.name}.lock"):
                return self._construct(part, download=True)
        except (OSError, *_DAMAGE) as failure:  # URLError is an OSError
            reason = " ".join(str(failure).split())
            given = f"download: true, but downloading '{self.spec.name}' to {root} failed: {reason}"
            allowed = "a machine that reaches the data set's server, or the files put there by hand"
            raise UserError([Mistake("dataset.download", given, allowed)]) from failure

    def _construct(self, part: Part, *, download: bool) -> Any:
        import torchvision  # only these data sets need it

        factory = getattr(torchvision.datasets, _SETS[self.spec.name][0])
        root = data_root(self.spec)
        if self.spec.name == "svhn":
            return factory(root, split=part, download=download)
        return factory(root, train=part == "train", download=download)
