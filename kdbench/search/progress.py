"""What a launch tells while it runs, and what it says at the end. Plain values; the command line draws
them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kdbench.plan import Run, Study
from kdbench.records import Epoch, Record


@dataclass(frozen=True)
class Counts:
    """How far a launch is. Trials that a study given up will not run are no longer counted."""

    studies: int
    studies_done: int
    trials: int
    trials_done: int
    finals: int
    finals_done: int
    teachers: int
    teachers_done: int
    running: int  # runs under way or about to start
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    elapsed: float = 0.0  # seconds since the launch began
    remaining: float | None = None  # seconds, a guess; None before there is anything to guess from


@dataclass(frozen=True)
class Summary:
    """How a launch ended."""

    counts: Counts
    missing: tuple[str, ...] = ()  # final runs without a result, each with its reason, for a person
    notes: tuple[str, ...] = ()  # studies given up, teachers that failed, how resources were decided
    interrupted: int = 0  # number of the signal that ended it; 0: none
    spooled: int = 0  # results that did not reach the tracking server yet
    broken: str = ""  # why it could not go on: a full disk, a store that is gone
    nothing_to_do: bool = False
    utilisation: float | None = None  # busy slot-seconds / available ones

    @property
    def exit_code(self) -> int:
        """0 every planned final run has a result; 1 some are missing or spooled, or it broke; 130, 143
        interrupted.
        """
        if self.interrupted:
            return 128 + self.interrupted
        return 1 if self.missing or self.spooled or self.broken else 0


class Progress(Protocol):
    """Who wants to know how a launch is going. Called in the driver's loop: keep it quick."""

    def note(self, message: str) -> None:
        """Something a person should read: Ray is starting, a study was given up, how to resume."""

    def started(self, run: Run) -> None:
        """A run was handed out."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """A run has ended an epoch."""

    def ended(self, run: Run, record: Record) -> None:
        """A run has a result."""

    def counts(self, counts: Counts) -> None:
        """How far the launch is; after every change."""

    def best(self, label: str, pair: str, accuracy: float) -> None:
        """A method's best validation accuracy so far, of its complete trials; after every change."""


class Tracker(Protocol):
    """What a launch needs of tracking; nothing here waits for a server."""

    def opened(self, run: Run, record: Record) -> None:
        """A run was handed out."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """A run has ended an epoch."""

    def ended(self, run: Run, record: Record) -> None:
        """A run has a result."""

    def reconcile(self, runs: Iterable[tuple[Run, Record]]) -> None:
        """These are all planned runs that have a record."""

    def study_ended(self, study: Study, best: Record | None) -> None:
        """A search is over; `best` is its best complete trial."""

    def launch_metrics(self, values: Mapping[str, float]) -> None:
        """Numbers of the launch as a whole."""


class Silent:
    """A Progress that says nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def started(self, run: Run) -> None:
        """Say nothing."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """Say nothing."""

    def ended(self, run: Run, record: Record) -> None:
        """Say nothing."""

    def counts(self, counts: Counts) -> None:
        """Say nothing."""

    def best(self, label: str, pair: str, accuracy: float) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class StudyStatus:
    """How far one study is."""

    label: str
    pair: str
    fraction: float
    trials: int
    states: Mapping[str, int] = field(default_factory=dict)  # complete, pruned, diverged, failed, running
    best: float | None = None  # validation accuracy of the best complete trial


@dataclass(frozen=True)
class Status:
    """What is done, running, failed and left of a plan, from the records alone."""

    counts: Counts
    studies: tuple[StudyStatus, ...]
    missing: tuple[str, ...]  # final runs without a result

    @property
    def done(self) -> bool:
        """Whether a launch would find nothing to do."""
        return (
            self.counts.studies_done == self.counts.studies
            and self.counts.finals_done == self.counts.finals
            and not self.missing
        )
