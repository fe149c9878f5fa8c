"""What a data set is called, where it lies, and what is known of it without looking at its test images."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DatasetSpec:
    """How to open a data set; the suite's `dataset:` key in one form."""

    name: str
    source: Literal["builtin", "parquet", "folder"] = "builtin"
    path: str | None = None  # absolute folder of a parquet or folder source
    root: str | None = None  # absolute data root of a built-in; None: $KDBENCH_DATA, else ~/.cache/kdbench
    download: bool = False  # let torchvision download a built-in that is not there
    mean: tuple[float, ...] | None = None  # per channel, of pixels in [0, 1]; None: the data set's own
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Facts:
    """What plans, models and reports need to know of a data set."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # channels, height, width
    train_size: int  # images of the training split, validation included
    test_size: int
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]
    std: tuple[float, ...]
    augment: str  # what `augment: auto` means here: shift | crop | crop-flip
    shift: int  # pixels that `shift` moves at most
    validation: float  # what `validation: auto` means here
    content_hash: str  # SHA-256 over both splits' pixels and labels
    note: str = ""  # what a report must say of it ("JPEG re-encoded"), "" for nothing
