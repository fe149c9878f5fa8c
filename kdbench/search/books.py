"""The dispatcher's decisions on their way to the clerk, who writes them down, and to whoever watches."""

import functools
import time
from collections.abc import Callable
from dataclasses import replace

from kdbench.plan import Run, Study
from kdbench.records import Epoch, Record
from kdbench.search.clerk import Clerk
from kdbench.search.progress import Counts, Progress
from kdbench.search.trial import OBJECTIVE
from kdbench.tracking.environment import commit

COUNT_EVERY_S = 1.0


class LaunchBooks:
    """The Books of a launch."""

    def __init__(self, clerk: Clerk, progress: Progress):
        self._clerk, self._progress = clerk, progress
        self._commit = commit()
        self._best: dict[tuple[str, str], float] = {}  # of each method in each pair
        self._counted = float("-inf")
        self.notes: list[str] = []
        self.epochs = 0  # trained in this launch
        self.trial_epochs: list[int] = []  # of the trials that ended in this launch
        self.count: Callable[[], Counts] | None = None  # how far the launch is; set when that is known

    def opened(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run is handed out."""
        record = replace(record, started=time.time(), commit=self._commit)
        self._clerk.do(functools.partial(self._clerk.opened, runs, record))
        for run in runs:
            self._progress.started(run)
        self._changed()

    def epoch(self, runs: tuple[Run, ...], epoch: Epoch) -> None:
        """A run has ended an epoch."""
        self.epochs += 1
        self._clerk.do(functools.partial(self._clerk.epoch, runs, epoch))
        for run in runs:
            self._progress.epoch(run, epoch)
        self._changed()

    def ended(self, runs: tuple[Run, ...], record: Record) -> None:
        """A run has a result."""
        record = replace(record, ended=time.time(), commit=self._commit)
        self._clerk.do(functools.partial(self._clerk.ended, runs, record))
        if record.kind == "trial":
            self._trial_ended(runs, record)
        for run in runs:
            self._progress.ended(run, record)
        self._changed()

    def known_as(self, runs: tuple[Run, ...], key: str) -> None:
        """A result that is there already belongs to these runs too, or is called otherwise than before."""
        self._clerk.do(functools.partial(self._clerk.known_as, runs, key))

    def study_ended(self, studies: tuple[Study, ...], best: str | None) -> None:
        """A search is over; `best` is the key of its best trial."""
        self._clerk.do(functools.partial(self._clerk.study_ended, studies, best))

    def note(self, message: str) -> None:
        """Keep it for the summary and tell it at once."""
        self.notes.append(message)
        self._progress.note(message)

    def _trial_ended(self, runs: tuple[Run, ...], record: Record) -> None:
        self.trial_epochs.append(len(record.history))
        if record.state != "complete" or not record.history:
            return
        value = record.history[-1].metrics.get(OBJECTIVE, float("-inf"))
        for run in runs:
            method = (run.label, run.pair)
            if value > self._best.get(method, float("-inf")):
                self._best[method] = value
                self._progress.best(*method, value)

    def _changed(self) -> None:
        """Tell how far the launch is, now and then."""
        if self.count is not None and time.monotonic() - self._counted > COUNT_EVERY_S:
            self._counted = time.monotonic()
            self._progress.counts(self.count())
