"""What the driver tells a worker and what a worker reports. Imported by both, so it stays light."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.records import Epoch, Kind
from kdbench.training.job import ImportedTeacher, Job

MESSAGE = "kdbench"  # the one metric that workers report to Ray Tune: a Message as JSON


@dataclass(frozen=True)
class Share:
    """What one run holds while it trains."""

    cpu: float = 1.0  # cores
    gpu: float = 0.0  # GPUs; below 1, a share of one

    @property
    def slot(self) -> float:
        """Share of a device: of a GPU where there is one, else cores."""
        return self.gpu or self.cpu


@dataclass(frozen=True)
class Work:
    """One training to do."""

    kind: Kind
    key: str
    job: Job
    share: Share
    keep_student: bool  # of final runs
    device: str  # "cpu" or "cuda"
    pair_teacher: Job | ImportedTeacher | None = None  # whom a final run is compared with
    alone: bool = False  # nothing else may run on its device: it ran out of memory beside others

    def __deepcopy__(self, memo: object) -> "Work":
        """Itself: Tune copies every config three times, and nobody changes a Work."""
        return self


class MachineFault(Exception):
    """The machine that a run was on failed it, or the store did: a full disk, a missing file."""


@dataclass(frozen=True)
class Message:
    """What a worker reports: epochs as they end, then an outcome."""

    epochs: tuple[Epoch, ...] = ()
    resumed: bool = False  # these epochs were trained by an earlier attempt
    outcome: Mapping[str, Any] | None = None  # the fields of a Record that a training ends with
    busy: float = 0.0  # seconds since this attempt began in the worker

    def encode(self) -> str:
        """As JSON: Tune flattens nested results."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decode(text: str) -> "Message":
        """The message that `encode` made."""
        values = json.loads(text)
        values["epochs"] = tuple(Epoch(**epoch) for epoch in values["epochs"])
        return Message(**values)
