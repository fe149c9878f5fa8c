"""ImageNet at 32x32 pixels, in the pickles of its authors, read without running anything that is in them.

Source: Chrabaszcz, Loshchilov, Hutter 2017, arXiv:1707.08819. Layout: `imagenet32/train_data_batch_1` to
`_10` and `imagenet32/val_data`, each a dict with `data`, (N, 3072) uint8, and `labels`, a list from 1. The
validation images are the test split: ImageNet's own test labels are not public.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdbench.data.images import Images
from kdbench.data.source import Part, data_root, missing, unreadable
from kdbench.data.spec import DatasetSpec

_LAYOUT = "imagenet32/train_data_batch_1 to _10 and imagenet32/val_data, the downsampled pickles"
_CONTENT = "a dict with data, (N, 3072) uint8, and labels, N whole numbers from 1"


@dataclass(frozen=True)
class ImageNet32:
    """A Source."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split, in the order of the files."""
        batches = [_read_batch(path) for path in self._files(part)]
        pixels = np.concatenate([data for data, _ in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([labels for _, labels in batches])
        return Images(torch.from_numpy(pixels), torch.from_numpy(labels - 1))

    def classes(self) -> None:
        """The files name no classes."""
        return None

    def files(self) -> list[Path]:
        """The pickles."""
        return self._files("train") + self._files("test")

    def note(self) -> str:
        """Nothing to say."""
        return ""

    def _files(self, part: Part) -> list[Path]:
        names = [f"train_data_batch_{number}" for number in range(1, 11)] if part == "train" else ["val_data"]
        files = [data_root(self.spec) / "imagenet32" / name for name in names]
        if not all(file.is_file() for file in files):
            raise missing(self.spec, _LAYOUT)
        return files


def _read_batch(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="latin1").load()
        data, labels = batch["data"], np.asarray(batch["labels"], dtype=np.int64)
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
    ) as failure:
        raise unreadable(path, f"which cannot be read ({failure})", _CONTENT) from failure
    well_formed = (
        isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape == (len(labels), 3072)
    )
    if not well_formed or not len(labels) or labels.min() < 1:
        raise unreadable(path, "which holds something else", _CONTENT)
    return data, labels


def _latin1(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 spell bytes; no other codec is let through."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r} is not allowed")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds numpy arrays and plain values; refuses every other name, so that no code of the file runs."""

    def find_class(self, module: str, name: str) -> Any:
        """The few callables that rebuild an array."""
        allowed = {
            ("multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _latin1,
        }
        short = (
            module.rpartition(".")[2]
            if module in ("numpy.core.multiarray", "numpy._core.multiarray")
            else module
        )
        if (short, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")
        return allowed[short, name]
