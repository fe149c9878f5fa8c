"""Hugging Face's image-classification parquet: columns `image: struct<bytes, path>` and `label: int64`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdbench.data.decode import Picture, any_jpeg, decode, from_bytes, is_grey
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
        grey = is_grey(self._named("train", self._stream("train")))
        pixels = decode(list(self._named(part, encoded)), grey=grey)
        return Images(pixels, torch.from_numpy(labels))

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
        return "JPEG re-encoded" if named or any_jpeg(self._stream("train")) else ""

    def _files(self, part: Part) -> list[Path]:
        folder = Path(self.spec.path or "")
        found = sorted(folder.glob(f"{part}*.parquet"))
        if not found:
            allowed = f"a folder with train*.parquet and test*.parquet: {_LAYOUT}"
            raise unreadable(repr(str(folder)), f"where there is no {part}*.parquet", allowed)
        return found

    def _named(self, part: Part, encoded: Iterable[bytes]) -> Iterator[Picture]:
        for number, data in enumerate(encoded):
            yield f"{part} image {number} of {self.spec.path}", from_bytes(data)

    def _stream(self, part: Part) -> Iterator[bytes]:
        """The encoded images a few at a time: who asks about the first need not read the last."""
        for path in self._files(part):
            with _readable(path):
                for batch in pq.ParquetFile(path).iter_batches(64, columns=["image"]):
                    yield from batch.column("image").field("bytes").to_pylist()

    def _columns(self, part: Part) -> tuple[list[bytes], np.ndarray[Any, np.dtype[np.int64]]]:
        encoded: list[bytes] = []
        labels: list[int] = []
        for path in self._files(part):
            with _readable(path):
                table = pq.read_table(path, columns=["image", "label"])
                encoded += table.column("image").combine_chunks().field("bytes").to_pylist()
                labels += table.column("label").to_pylist()
        _check(self._files(part)[0], encoded, labels)
        return encoded, np.asarray(labels, dtype=np.int64)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, AttributeError, TypeError) as failure:
        raise unreadable(path, f"which cannot be read ({failure})", _LAYOUT) from failure


def _check(path: Path, encoded: list[bytes], labels: list[int]) -> None:
    if not all(isinstance(data, bytes) and data for data in encoded):
        raise unreadable(path, "where an image has no bytes", _LAYOUT)
    if not all(isinstance(label, int) and label >= 0 for label in labels):
        raise unreadable(path, "where a label is missing or no whole number from 0", _LAYOUT)
