"""The data set travels once to every node, through Ray's object store; all workers of a node share its
memory.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import ray
import torch

from kdbench import data
from kdbench.data import DatasetSpec, Images
from kdbench.data.source import Part

_received: set[tuple[DatasetSpec, Part]] = set()  # by this process, which works for one launch


def ship(spec: DatasetSpec) -> dict[Part, Any]:
    """References to both splits. They last while the caller keeps them; only the driver needs the data on
    disk.
    """
    splits: dict[Part, Images] = {"train": data.load_training(spec), "test": data.load_test(spec)}
    return {part: ray.put((split.images.numpy(), split.labels.numpy())) for part, split in splits.items()}


def receive(spec: DatasetSpec, part: Part, references: Mapping[Part, Any]) -> None:
    """Let trainings in this process use a split that was shipped."""
    if (spec, part) in _received:
        return
    images, labels = ray.get(references[part])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody does
        data.offer(spec, part, Images(torch.from_numpy(images), torch.from_numpy(labels)))
    _received.add((spec, part))
