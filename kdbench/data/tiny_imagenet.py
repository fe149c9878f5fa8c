"""Tiny-ImageNet: 200 classes of 64x64 JPEG images, `tiny-imagenet-200` as Stanford's CS231n published it.

Layout: `wnids.txt` (a class per line), `train/<wnid>/images/*.JPEG`, `val/images/*.JPEG` and
`val/val_annotations.txt` (file, wnid and a box, separated by tabs). The published test images carry no
labels, so the validation images are the test split, as everywhere in the literature.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from kdbench.data.decode import decode, from_file
from kdbench.data.folder import pictures_in
from kdbench.data.images import Images
from kdbench.data.source import Part, data_root, missing, unreadable
from kdbench.data.spec import DatasetSpec

_LAYOUT = "tiny-imagenet-200 (wnids.txt, train/<wnid>/images, val/images, val/val_annotations.txt)"


@dataclass(frozen=True)
class TinyImageNet:
    """A Source; labels count the classes of `wnids.txt` in alphabetical order. Always in colour."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split."""
        files = self._training_files() if part == "train" else self._validation_files()
        labels = {name: label for label, name in enumerate(self.classes())}
        pixels = decode([(str(path), from_file(path)) for path, _ in files], grey=False)
        return Images(pixels, torch.tensor([labels[wnid] for _, wnid in files], dtype=torch.int64))

    def classes(self) -> tuple[str, ...]:
        """The WordNet ids."""
        return tuple(sorted(self._text("wnids.txt").split()))

    def files(self) -> list[Path]:
        """The lists and every labelled picture."""
        lists = [self._folder / "wnids.txt", self._folder / "val" / "val_annotations.txt"]
        return lists + [path for path, _ in self._training_files() + self._validation_files()]

    def note(self) -> str:
        """The originals are JPEG images."""
        return ""

    @property
    def _folder(self) -> Path:
        return data_root(self.spec) / "tiny-imagenet-200"

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text()
        except FileNotFoundError as absent:
            raise missing(self.spec, _LAYOUT) from absent

    def _training_files(self) -> list[tuple[Path, str]]:
        found = []
        for wnid in self.classes():
            pictures = pictures_in(self._folder / "train" / wnid / "images")
            if not pictures:
                raise unreadable(self._folder / "train" / wnid / "images", "where there is no image", _LAYOUT)
            found += [(path, wnid) for path in pictures]
        return found

    def _validation_files(self) -> list[tuple[Path, str]]:
        name = "val/val_annotations.txt"
        rows = [line.split("\t") for line in self._text(name).splitlines() if line.strip()]
        classes = set(self.classes())
        for number, row in enumerate(rows, 1):
            if len(row) < 2 or row[1] not in classes or Path(row[0]).name != row[0]:
                where = f"{self._folder / name}, line {number}"
                raise unreadable(
                    where, "which names no file and class", "file, wnid and box, separated by tabs"
                )
        return [(self._folder / "val" / "images" / row[0], row[1]) for row in rows]
