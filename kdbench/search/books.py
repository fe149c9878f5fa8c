"""The driver writes down what happens: the record first, then Optuna's journal, then MLflow, then the
progress.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from kdbench.plan import Run, Study
from kdbench.records import Epoch, Record
from kdbench.search.journal import Journal
from kdbench.search.progress import Counts, Progress, Tracker
from kdbench.search.store import Store
from kdbench.search.trial import Trial, steps
from kdbench.tracking.environment import commit


class LaunchBooks:
    """The Books of a launch."""

    def __init__(self, store: Store, journal: Journal, tracker: Tracker, progress: Progress):
        self._store, self._journal, self._tracker, self._progress = store, journal, tracker, progress
        self._commit = commit()
        self._best: dict[tuple[str, str], float] = {}  # of each method in each pair
        self._counted = float("-inf")
        self.notes: list[str] = []
        self.epochs = 0  # trained in this launch
        self.trial_epochs: list[int] = []  # of the trials that ended in this launch
        self.count: Callable[[], Counts] | None = None  # how far the launch is; set when that is known

    def opened(self, runs: tuple[Run, ...], record: Record) -> Record:
        """Write the record `running`; one that an earlier launch wrote keeps its time of start."""
        known = self._store.record(record.key)
        taken_up = known is not None and known.state == "running"
        started = known.started if known is not None and taken_up else time.time()
        record = replace(record, started=started, commit=self._commit)
        self._store.write(record)
        if record.kind == "trial":
            self._journal.started(record.study, Trial.of(record))
        for run in runs:
            self._tracker.opened(run, record)
            self._progress.started(run)
        self._changed()
        return record

    def epoch(self, runs: tuple[Run, ...], epoch: Epoch) -> None:
        """Pass an epoch on; the record gets the whole history at the end."""
        self.epochs += 1
        if runs[0].kind == "trial":
            for step, value in steps((epoch,)).items():
                self._journal.report(runs[0].study, runs[0].number, step, value)
        for run in runs:
            self._tracker.epoch(run, epoch)
            self._progress.epoch(run, epoch)
        self._changed()

    def ended(self, runs: tuple[Run, ...], record: Record) -> Record:
        """Write the result, then remove what only the training needed."""
        record = replace(record, ended=time.time(), commit=self._commit)
        self._store.write(record)
        self._store.forget_checkpoints(record.key)
        if record.kind == "trial":
            self._trial_ended(runs, Trial.of(record))
            self.trial_epochs.append(len(record.history))
        if record.kind == "final":
            self._store.fetch_student(record.key)
        for run in runs:
            self._tracker.ended(run, record)
            self._progress.ended(run, record)
        self._changed()
        return record

    def known_as(self, runs: tuple[Run, ...], key: str) -> None:
        """Say of a result that is there already whose it is."""
        record = self._store.record(key)
        for run in runs:
            if record is not None:
                self._tracker.ended(run, record)

    def study_ended(self, studies: tuple[Study, ...], best: str | None) -> None:
        """A search is over; `best` is the key of its best trial."""
        record = self._store.record(best) if best else None
        for study in studies:
            self._tracker.study_ended(study, record)

    def note(self, message: str) -> None:
        """Keep it for the summary and tell it at once."""
        self.notes.append(message)
        self._progress.note(message)

    def _trial_ended(self, runs: tuple[Run, ...], trial: Trial) -> None:
        self._journal.tell(runs[0].study, trial)
        if trial.state != "complete" or trial.value is None:
            return
        for run in runs:
            method = (run.label, run.pair)
            if trial.value > self._best.get(method, float("-inf")):
                self._best[method] = trial.value
                self._progress.best(*method, trial.value)

    def _changed(self) -> None:
        """Tell how far the launch is, at most once a second."""
        if self.count is not None and time.monotonic() - self._counted > 1.0:
            self._counted = time.monotonic()
            self._progress.counts(self.count())
