"""The run record: one small JSON per trial, final or teacher, the only authority for what happened to it.

Written by one process, the driver (and by `kdbench train`), atomically, when the run is asked for and again
when it ends. Optuna's journal and MLflow are views of these.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_json

from kdbench.atomic import replacing
from kdbench.methods.contract import Scalar

Kind = Literal["trial", "final", "teacher"]
State = Literal["running", "complete", "pruned", "diverged", "failed"]
Reason = Literal["nan", "oom", "killed", "error", "no-trial"]

RECORD_VERSION = 1


@dataclass(frozen=True)
class Epoch:
    """What was measured at the end of one epoch. Metrics carry MLflow's names, such as `val/accuracy`."""

    epoch: int  # from 1, over all stages and chain members of the run
    stage: str
    rung: float  # progress of the last stage x epochs: the axis on which trials are compared; 0 before it
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """One run. Fields that do not apply to its kind keep their defaults."""

    key: str
    kind: Kind
    state: State
    method: str  # the label: a method's name, or the suite's `as`
    hyperparameters: Mapping[str, Scalar]  # all the method's and the searched training parameters, resolved
    seed: int
    study: str = ""  # key of the study, of trials
    number: int = -1  # of trials, from 0
    sampled: Mapping[str, Scalar] = field(default_factory=dict)  # what Optuna sampled, of trials
    reason: Reason | None = None
    message: str = ""  # of the failure, for a person
    history: tuple[Epoch, ...] = ()
    rungs: Mapping[str, float] = field(default_factory=dict)  # rung milestone -> value the scheduler compared
    test: Mapping[str, float] = field(default_factory=dict)  # test/accuracy and eval/*, of finals
    # time/train_s, time/updates, time/teacher_gradients
    time: Mapping[str, float] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)  # the Job as a mapping: enough to train it again
    device: str = ""
    slot: float = 1.0  # share of a device this run held
    commit: str = ""
    started: float = 0.0  # seconds since the epoch
    ended: float = 0.0
    evaluation: int = 0  # EVALUATION_VERSION of `test`
    version: int = RECORD_VERSION


def write(record: Record, folder: Path) -> Path:
    """Write `<key>.json` into `folder` atomically and durably: a reader sees the old one or the new one."""
    text = to_json(record, indent=1, inf_nan_mode="constants").decode()  # ten times as fast as json
    return write_atomically(folder / f"{record.key}.json", text)


def write_atomically(path: Path, text: str) -> Path:
    """Replace `path` by a file of this text, in one step and durably."""
    with replacing(path, durable=True) as file:
        file.write(text.encode())
    return path


def read(path: Path) -> Record:
    """The record in `path`. Raises ValueError if the file is not a record of a known version."""
    values = json.loads(path.read_text())
    if not isinstance(values, dict) or values.get("version") != RECORD_VERSION:
        raise ValueError(f"{path} is no run record of version {RECORD_VERSION}")
    values["history"] = tuple(Epoch(**epoch) for epoch in values["history"])
    return Record(**values)


def read_all(folder: Path) -> Iterator[Record]:
    """Every record in `folder`, in the order of their keys."""
    for path in sorted(folder.glob("*.json")):
        yield read(path)
