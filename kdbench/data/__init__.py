"""Data sets in memory: sources, splits, batches."""

from kdbench.data.batches import Sampler, augment, normalise, pixel_range
from kdbench.data.builtin import names
from kdbench.data.facts import TrainingData, facts, load_test, load_training, make_training, offer
from kdbench.data.images import Images
from kdbench.data.parse import parse
from kdbench.data.spec import DatasetSpec, Facts
from kdbench.data.splits import Indices, split

__all__ = [
    "DatasetSpec",
    "Facts",
    "Images",
    "Indices",
    "Sampler",
    "TrainingData",
    "augment",
    "facts",
    "load_test",
    "load_training",
    "make_training",
    "names",
    "normalise",
    "offer",
    "parse",
    "pixel_range",
    "split",
]
