"""Facts of a data set, and its images: what plans and trainings ask for."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kdbench.data.builtin import builtin, open_source
from kdbench.data.images import Images, channel_statistics, content_hash
from kdbench.data.source import Part, Source, unreadable
from kdbench.data.spec import DatasetSpec, Facts
from kdbench.data.splits import split as split_indices
from kdbench.keys import content_key
from kdbench.records import write_atomically

if TYPE_CHECKING:  # kdbench.training imports kdbench.data
    from kdbench.training.job import Split

_MEASURED_VERSION = 1  # of the cached measurements


@dataclass(frozen=True)
class TrainingData:
    """The images of one training: never the test split."""

    train: Images  # of the fraction, without omitted classes
    validation: Images
    full_size: int  # training images at fraction 1.0, before classes are omitted: what an equal epoch counts
    facts: Facts


@dataclass(frozen=True)
class _Measured:
    """What only reading all the images tells."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train_size: int
    test_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    content_hash: str
    note: str


def facts(spec: DatasetSpec) -> Facts:
    """Open the data set, hash both splits, and say what is known of it.

    What was measured is kept beside the path, size and time of every file, so that asking again costs no
    reading. Raises UserError where data are missing, cannot be downloaded or are not as they should be.
    """
    measured = _measured(spec)
    row = builtin(spec)
    channels, height, _ = measured.shape
    mean, std = (row.mean, row.std) if row else (spec.mean or measured.mean, spec.std or measured.std)
    if len(mean) != channels or len(std) != channels:
        problem = f"given mean {mean} and std {std}"
        raise unreadable(repr(spec.name), problem, f"one number per channel, here {channels}")
    return Facts(
        name=spec.name,
        classes=measured.classes,
        shape=measured.shape,
        train_size=measured.train_size,
        test_size=measured.test_size,
        mean=mean,
        std=std,
        augment=row.augment if row else "crop-flip",
        shift=row.shift if row else max(1, height // 14),
        validation=row.validation if row else 0.1,
        content_hash=measured.content_hash,
        note=measured.note,
    )


_offered: dict[tuple[str, Part], Images] = {}


def offer(spec: DatasetSpec, part: Part, images: Images) -> None:
    """Give this process a split that was read elsewhere, so that it need not be read, or even be, on this
    machine.

    `images` must be what reading gives, on the CPU; they are not copied and must not change.
    """
    _offered[content_key(spec), part] = images


def load_training(spec: DatasetSpec) -> Images:
    """The training split, validation included, on the CPU."""
    return _offered.get((content_key(spec), "train")) or open_source(spec).read("train")


def load_test(spec: DatasetSpec) -> Images:
    """The test split, on the CPU. For evaluations of finals alone."""
    return _offered.get((content_key(spec), "test")) or open_source(spec).read("test")


def make_training(
    spec: DatasetSpec, facts: Facts, split: "Split", device: str | torch.device
) -> TrainingData:
    """The images that one training uses, on its device. Raises what `split` raises."""
    images = load_training(spec)
    indices = split_indices(images.labels, split)
    return TrainingData(
        train=images.pick(indices.train).to(device),
        validation=images.pick(indices.validation).to(device),
        full_size=indices.full,
        facts=facts,
    )


def _measured(spec: DatasetSpec) -> _Measured:
    source = open_source(spec)
    known = _cache_file(spec, source)
    if known is not None and known.exists():
        try:
            return _from_json(json.loads(known.read_text()))
        except (ValueError, TypeError, AttributeError):
            pass  # a damaged note is measured again and replaced
    measured = _measure(source)
    stamp = _cache_file(spec, source)  # again: reading may have downloaded the files
    if stamp is not None:
        try:
            write_atomically(stamp, json.dumps(dataclasses.asdict(measured)))
        except OSError:
            pass  # a read-only cache costs time, nothing else
    return measured


def _measure(source: Source) -> _Measured:
    train, test = source.read("train"), source.read("test")
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = f"training images {tuple(train.images.shape[1:])}, test images {tuple(test.images.shape[1:])}"
        raise unreadable(
            "this data set", f"whose splits differ: {sizes}", "images of one size in both splits"
        )
    classes = source.classes()
    highest = int(max(train.labels.max(), test.labels.max()))
    if classes is None:
        classes = tuple(map(str, range(highest + 1)))
    if highest >= len(classes) or len(classes) < 2:
        problem = f"which has labels up to {highest} and {len(classes)} class names"
        raise unreadable("this data set", problem, "at least two classes, a name for every label")
    mean, std = channel_statistics(train.images)
    _, channels, height, width = train.images.shape
    shape = (channels, height, width)
    digest = content_hash(train, test)
    return _Measured(classes, shape, len(train), len(test), mean, std, digest, source.note())


def _from_json(values: dict[str, Any]) -> _Measured:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return _Measured(**fields)


def _cache_file(spec: DatasetSpec, source: Source) -> Path | None:
    """Where the measurements of these very files are kept; None where there are none yet."""
    try:
        files = source.files()
        stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    except OSError:
        return None
    if not stamps:
        return None
    home = os.environ.get("KDBENCH_HOME")
    folder = Path(home) if home else Path.home() / ".cache" / "kdbench"
    return folder / "datasets" / f"{content_key([_MEASURED_VERSION, spec.name, spec.source, stamps])}.json"
