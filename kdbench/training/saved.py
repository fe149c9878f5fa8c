"""Trained networks on disk: weights in safetensors, and beside them a JSON that says what they are."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from kdbench import models
from kdbench.data import Facts
from kdbench.models import MultiExit
from kdbench.records import write_atomically
from kdbench.training.job import Job

SAVED_VERSION = 1


@dataclass(frozen=True)
class Description:
    """All that is needed to use the weights. The network takes (pixel - mean) / std, of pixels in [0, 1]."""

    key: str  # of the run that trained it
    model: str
    shape: tuple[int, int, int]  # channels, height, width
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel
    std: tuple[float, ...]
    multi_exit: bool  # the weights are those of models.MultiExit
    job: Mapping[str, Any]  # the Job as a mapping
    version: int = SAVED_VERSION


def save_network(model: nn.Module, folder: Path, key: str, job: Job, facts: Facts) -> Path:
    """Write `<key>.json`, then `<key>.safetensors`, each in one step, and return the latter's path."""
    description = Description(
        key=key,
        model=job.model,
        shape=facts.shape,
        classes=facts.classes,
        mean=facts.mean,
        std=facts.std,
        multi_exit=isinstance(model, MultiExit),
        job=dataclasses.asdict(job),
    )
    write_atomically(folder / f"{key}.json", json.dumps(dataclasses.asdict(description), indent=1))
    return models.save(model, folder / f"{key}.safetensors")


def load_network(weights: Path) -> tuple[nn.Module, Description]:
    """The network in `weights`, on the CPU in eval mode, and what the JSON beside it says.

    Raises FileNotFoundError where one of the two is missing, ValueError for a description of another version,
    UserError for weights that do not fit it.
    """
    values = json.loads(weights.with_suffix(".json").read_text())
    if not isinstance(values, dict) or values.get("version") != SAVED_VERSION:
        raise ValueError(f"{weights.with_suffix('.json')} describes no network of version {SAVED_VERSION}")
    for name in ("shape", "classes", "mean", "std"):
        values[name] = tuple(values[name])
    known = Description(**values)
    if not weights.exists():
        raise FileNotFoundError(weights)
    classes = len(known.classes)
    if not known.multi_exit:
        return models.load(known.model, weights, shape=known.shape, classes=classes), known
    backbone = models.build(known.model, shape=known.shape, classes=classes, seed=0)
    network = MultiExit(backbone, known.shape, classes, seed=0)
    network.load_state_dict(safetensors.torch.load_file(weights))
    return network.eval(), known
