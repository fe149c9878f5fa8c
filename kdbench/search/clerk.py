"""Writes down what the driver decides, in a thread of its own: no decision waits for a disk or an object
store.

Of every event in this order: the record, Optuna's journal, MLflow. Events stay in their order: at any moment
a beginning of what was decided is on disk. What a killed driver had not written yet is milliseconds old, or
seconds where an object store is slow. The end of a run is then found out again from its last checkpoint; a
run without a record was begun for nobody.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from kdbench.plan import Run, Study
from kdbench.records import Epoch, Record
from kdbench.search.journal import Journal
from kdbench.search.progress import Tracker
from kdbench.search.store import Store
from kdbench.search.trial import Trial, steps

_MOST_WAITING = (
    1000  # events; beyond that the driver waits: an object store may be slower than trivial trials
)


class Broken(Exception):
    """A launch cannot go on: what it writes to does not work. What is written is as good as ever."""


class Clerk:
    """One thread that does one thing after the other."""

    def __init__(self, store: Store, journal: Journal, tracker: Tracker):
        self._store, self._journal, self._tracker = store, journal, tracker
        self._begun: dict[str, float] = {}  # key -> time of start, of the runs in flight
        self._failure: Exception | None = None
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="clerk", daemon=True)
        self._thread.start()

    def do(self, action: Callable[[], None]) -> None:
        """Do this after all that was said before. Raises what `check` does."""
        self.check()
        self._waiting.put(action)

    def check(self) -> None:
        """Raise what an action raised; Broken for an OSError: a full disk, a store that is gone."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Do all that was said, then end. Raises what `check` does."""
        self._waiting.put(None)
        self._thread.join()
        self._try(self._journal.close)
        self.check()

    def _work(self) -> None:
        while (action := self._waiting.get()) is not None:
            if self._failure is None:
                self._try(action)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as problem:
            self._failure = self._failure or Broken(f"{type(problem).__name__}: {problem}")
        except Exception as failure:  # noqa: BLE001 - raised in the driver's thread, by `check`
            self._failure = failure

    def opened(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run is handed out; one that an earlier launch began keeps its time of start."""
        known = self._store.record(record.key)
        if known is not None and known.state == "running":
            record = replace(record, started=known.started)
        self._begun[record.key] = record.started
        self._store.write(record)
        if record.kind == "trial":
            self._journal.started(record.study, Trial.of(record))
        for run in runs:
            self._tracker.opened(run, record)

    def epoch(self, runs: tuple[Run, ...], epoch: Epoch) -> None:
        """A run has ended an epoch; its record gets the whole history at the end."""
        if runs[0].kind == "trial":
            for step, value in steps((epoch,)).items():
                self._journal.report(runs[0].study, runs[0].number, step, value)
        for run in runs:
            self._tracker.epoch(run, epoch)

    def ended(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run has a result. Once that is written, what only its training needed is removed."""
        record = replace(record, started=self._begun.pop(record.key, record.ended))
        self._store.write(record)
        self._store.forget_checkpoints(record.key)
        if record.kind == "trial":
            self._journal.tell(record.study, Trial.of(record))
        if record.kind == "final":
            self._store.fetch_student(record.key)
        for run in runs:
            self._tracker.ended(run, record)

    def known_as(self, runs: tuple[Run, ...], key: str) -> None:
        """A result that is there belongs to these runs too."""
        record = self._store.record(key)
        for run in runs:
            if record is not None:
                self._tracker.ended(run, record)

    def study_ended(self, studies: tuple[Study, ...], best: str | None) -> None:
        """A search is over; `best` is the key of its best trial."""
        record = self._store.record(best) if best else None
        for study in studies:
            self._tracker.study_ended(study, record)
