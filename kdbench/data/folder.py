"""A folder per class: `train/<class>/*.png`, `test/<class>/*.png`, as torchvision's ImageFolder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from kdbench.data.decode import decode, from_file, is_grey
from kdbench.data.images import Images
from kdbench.data.source import Part, unreadable
from kdbench.data.spec import DatasetSpec

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
_JPEG = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class Folder:
    """A Source; the classes are the folders in `train`, in the order of their names."""

    spec: DatasetSpec

    def read(self, part: Part) -> Images:
        """All images of one split, ordered by class and file name."""
        classes = self.classes()
        unknown = sorted(set(self._class_folders(part)) - set(classes))
        if unknown:
            raise unreadable(
                self._folder / part / unknown[0], "a class without training images", "no new class"
            )
        pictures, labels = [], []
        for label, name in enumerate(classes):
            for path in pictures_in(self._folder / part / name):
                pictures.append((str(path), from_file(path)))
                labels.append(label)
        train = (path for name in classes for path in pictures_in(self._folder / "train" / name))
        grey = is_grey((str(path), from_file(path)) for path in train)
        return Images(decode(pictures, grey=grey), torch.tensor(labels, dtype=torch.int64))

    def classes(self) -> tuple[str, ...]:
        """The names of the folders in `train`."""
        return tuple(self._class_folders("train"))

    def files(self) -> list[Path]:
        """Every picture."""
        folders = [
            self._folder / part / name for part in ("train", "test") for name in self._class_folders(part)
        ]
        return [path for folder in folders for path in pictures_in(folder)]

    def note(self) -> str:
        """Says where pictures have been through JPEG."""
        return "JPEG images" if any(path.suffix.lower() in _JPEG for path in self.files()) else ""

    @property
    def _folder(self) -> Path:
        return Path(self.spec.path or "")

    def _class_folders(self, part: str) -> list[str]:
        folder = self._folder / part
        found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        if not found:
            allowed = "a folder with train/<class>/*.png and test/<class>/*.png (or JPEG and the like)"
            raise unreadable(repr(str(self._folder)), f"where there is no {part}/<class>", allowed)
        return found


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
