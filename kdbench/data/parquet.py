"""Hugging Face's image-classification parquet: columns `image: struct<bytes, path>` and `label: int64`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdbench.data.decode import any_jpeg, decode, from_bytes, is_grey
from kdbench.data.images import Images
from kdbench.data.source import Part, unreadable
from kdbench.data.spec import DatasetSpec

_LAYOUT = "parquet files with the columns image: struct<bytes, path> and label: an integer"


@dataclass(frozen=True)
class Parquet:
    """A Source: a folder with `train*.parquet` and `test*.parquet`."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split, in the order of file names and rows."""
        encoded, labels = self._columns(part)
        train = encoded if part == "train" else self._columns("train")[0]
        grey = is_grey([(f"training image {i}", from_bytes(data)) for i, data in enumerate(train)])
        pictures = [
            (f"{part} image {i} of {self.spec.path}", from_bytes(data)) for i, data in enumerate(encoded)
        ]
        return Images(decode(pictures, grey=grey), torch.from_numpy(labels))

    def classes(self) -> tuple[str, ...] | None:
        """The names in the Hugging Face metadata of the schema, where there are any."""
        metadata = pq.read_schema(self._files("train")[0]).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = features.get("label", {}).get("names")
        return tuple(map(str, names)) if names else None

    def files(self) -> list[Path]:
        """The parquet files of both splits."""
        return self._files("train") + self._files("test")

    def note(self) -> str:
        """Says where the pictures have been through JPEG."""
        named = "jpeg" in self.spec.name or "jpg" in self.spec.name
        return "JPEG re-encoded" if named or any_jpeg(self._columns("train")[0]) else ""

    def _files(self, part: Part) -> list[Path]:
        folder = Path(self.spec.path or "")
        found = sorted(folder.glob(f"{part}*.parquet"))
        if not found:
            allowed = f"a folder with train*.parquet and test*.parquet: {_LAYOUT}"
            raise unreadable(repr(str(folder)), f"where there is no {part}*.parquet", allowed)
        return found

    def _columns(self, part: Part) -> tuple[list[bytes], np.ndarray[Any, np.dtype[np.int64]]]:
        encoded: list[bytes] = []
        labels: list[int] = []
        for path in self._files(part):
            try:
                table = pq.read_table(path, columns=["image", "label"])
                encoded += table.column("image").combine_chunks().field("bytes").to_pylist()
                labels += table.column("label").to_pylist()
            except (pa.ArrowException, OSError, KeyError, AttributeError, TypeError) as failure:
                raise unreadable(path, f"which cannot be read ({failure})", _LAYOUT) from failure
        _check(self._files(part)[0], encoded, labels)
        return encoded, np.asarray(labels, dtype=np.int64)


def _check(path: Path, encoded: list[bytes], labels: list[int]) -> None:
    if not all(isinstance(data, bytes) and data for data in encoded):
        raise unreadable(path, "where an image has no bytes", _LAYOUT)
    if not all(isinstance(label, int) and label >= 0 for label in labels):
        raise unreadable(path, "where a label is missing or no whole number from 0", _LAYOUT)
