"""The built-in data sets, one row each, and how any data set is opened."""

from collections.abc import Callable
from dataclasses import dataclass

from kdbench.data.digits import Digits
from kdbench.data.folder import Folder
from kdbench.data.imagenet32 import ImageNet32
from kdbench.data.parquet import Parquet
from kdbench.data.source import Source
from kdbench.data.spec import DatasetSpec
from kdbench.data.tiny_imagenet import TinyImageNet
from kdbench.data.vision import Vision


@dataclass(frozen=True)
class Builtin:
    """What belongs to a data set beyond its images."""

    source: Callable[[DatasetSpec], Source]
    mean: tuple[float, ...]  # published, per channel, of pixels in [0, 1]
    std: tuple[float, ...]
    augment: str  # what `augment: auto` means
    shift: int  # pixels that `shift` moves at most
    validation: float = 0.1  # what `validation: auto` means


_BUILTIN = {
    "digits": Builtin(Digits, (0.3049,), (0.3757,), "shift", 1, validation=0.2),
    "mnist": Builtin(Vision, (0.1307,), (0.3081,), "shift", 2),
    "fashion-mnist": Builtin(Vision, (0.2860,), (0.3530,), "shift", 2),
    "cifar10": Builtin(Vision, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "crop-flip", 2),
    "cifar100": Builtin(Vision, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), "crop-flip", 2),
    "svhn": Builtin(Vision, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), "crop", 2),
    "imagenet32": Builtin(ImageNet32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "crop-flip", 2),
    "tiny-imagenet": Builtin(
        TinyImageNet, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821), "crop-flip", 4
    ),
}


def names() -> tuple[str, ...]:
    """The built-in data sets."""
    return tuple(_BUILTIN)


def builtin(spec: DatasetSpec) -> Builtin | None:
    """The row of a built-in data set; None for a user's own."""
    return _BUILTIN[spec.name] if spec.source == "builtin" else None


def open_source(spec: DatasetSpec) -> Source:
    """The source that reads `spec`."""
    row = builtin(spec)
    if row is not None:
        return row.source(spec)
    return Parquet(spec) if spec.source == "parquet" else Folder(spec)
