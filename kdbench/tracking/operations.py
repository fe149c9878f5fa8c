"""What is to be done in MLflow, as plain values: written to the spool by the driver, applied by the writer.

A run is addressed by kind, pair and key, never by MLflow's id: the same operation finds the same run after
a crash, in another process and when it is sent a second time.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Address = str  # "trial|resnet14->resnet8w4|<key>"
LAUNCH: Address = "launch||"


def address(kind: str, pair: str, key: str) -> Address:
    """What identifies a run inside an experiment."""
    return f"{kind}|{pair}|{key}"


@dataclass(frozen=True)
class Write:
    """Make a run, or bring it up to date. Only what differs from what MLflow has is sent.

    Without a name the run must exist already; where it does not, nothing happens.
    """

    run: Address
    name: str = ""
    parent: Address = ""
    started: int = 0  # milliseconds since the epoch
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    epochs: tuple[tuple[int, int, Mapping[str, float]], ...] = ()  # (epoch, milliseconds, metrics)
    results: Mapping[str, float] = field(default_factory=dict)  # metrics that are logged once
    step: int = 0  # of the results
    status: str = ""  # RUNNING, FINISHED, FAILED, KILLED; "": as it is
    ended: int = 0  # milliseconds since the epoch
    reused: bool = False  # the result may have been tracked by another suite or pair: tag it if so

    def then(self, later: "Write") -> "Write":
        """One write that does what this one and a later one of the same run do."""
        return Write(
            run=self.run,
            name=later.name or self.name,
            parent=later.parent or self.parent,
            started=self.started or later.started,
            tags={**self.tags, **later.tags},
            params={**self.params, **later.params},
            epochs=self.epochs + later.epochs,
            results={**self.results, **later.results},
            step=later.step or self.step,
            status=later.status or self.status,
            ended=later.ended or self.ended,
            reused=self.reused and later.reused,
        )


@dataclass(frozen=True)
class Text:
    """A small text as an artifact of a run."""

    run: Address
    text: str
    path: str  # "plan.json"


@dataclass(frozen=True)
class Folder:
    """A local folder as artifacts of a run."""

    run: Address
    folder: str  # absolute
    path: str  # "report"


@dataclass(frozen=True)
class Dataset:
    """The data set that runs were trained on, as MLflow's dataset input."""

    run: Address
    name: str
    digest: str  # at most 36 characters
    source: str  # JSON: where the images came from


@dataclass(frozen=True)
class Student:
    """A trained student as a model that loads, and, where `register` is a name, as a version of that."""

    run: Address
    key: str
    weights: str  # path of <key>.safetensors; <key>.json lies beside it
    tags: Mapping[str, str]
    step: int = 0  # last epoch
    register: str = ""
    description: str = ""


@dataclass(frozen=True)
class Current:
    """Exactly these runs of the experiment belong to the suite's latest plan."""

    runs: tuple[Address, ...]


Operation = Write | Text | Folder | Dataset | Student | Current
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Write, Text, Folder, Dataset, Student, Current)
}


def encode(operation: Operation) -> bytes:
    """One line of the spool, its newline included."""
    fields = {
        field.name: value
        for field in dataclasses.fields(operation)
        if (value := getattr(operation, field.name)) != field.default
    }
    return json.dumps({"operation": type(operation).__name__, **fields}).encode() + b"\n"


def decode(line: bytes) -> Operation:
    """The operation in a line. Raises ValueError for a line that holds none (torn, or of another version)."""
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("operation")]
        for name in ("epochs", "runs"):
            if name in values:
                values[name] = tuple(tuple(item) if name == "epochs" else item for item in values[name])
        operation: Operation = kind(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no operation: {line[:80]!r}") from error
    return operation
