"""The Optuna journal of a launch: one file that optuna-dashboard opens live. A view, rebuilt from the
records.
"""

import json
import os
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from kdbench.plan import Study
from kdbench.search.trial import Trial
from kdbench.search.view import View, distributions


class Journal:
    """All studies of a launch, addressed by their keys; in the file they have names for a person."""

    def __init__(self, path: Path, studies: Iterable[Study], trials: Mapping[str, Iterable[Trial]]):
        """Write the file anew from `trials` by study key, in one step, and keep it open for what follows.

        Nothing is read of an earlier file: a killed launch may have left half a line or a lock.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        self._file = temporary.open("a")  # whoever else writes to it, as optuna-dashboard may, spoils no line
        storage = JournalStorage(_OneWriter(self._file))
        self._views: dict[str, View] = {}
        for study in studies:
            view = View(storage, name(study), distributions(study.space))
            for trial in sorted(trials.get(study.key, ()), key=lambda trial: trial.number):
                view.add(trial)
            self._views[study.key] = view
        self._file.flush()
        os.replace(temporary, path)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)

    def started(self, study: str, trial: Trial) -> None:
        """A trial was asked for."""
        if trial.number not in self._views[study]:
            self._views[study].add(trial)

    def report(self, study: str, number: int, step: int, value: float) -> None:
        """A running trial has this objective at this step."""
        self._views[study].report(number, step, value)

    def tell(self, study: str, trial: Trial) -> None:
        """A trial has ended."""
        self._views[study].tell(trial)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def name(study: Study) -> str:
    """What the study is called in the journal."""
    return f"{study.label} · {study.pair} · {study.fraction:g}"


class _OneWriter(BaseJournalBackend):  # type: ignore[misc]
    """Optuna's journal format for a single writer: no lock, no fsync, for nothing here cannot be rebuilt."""

    def __init__(self, file: TextIO):
        self._file = file
        self._unread: list[dict[str, Any]] = []
        self._first = 0  # number of the first unread log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._file.writelines(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._file.flush()
        self._unread += logs

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        known = log_number_from - self._first
        unread, self._first, self._unread = self._unread[known:], log_number_from, self._unread[known:]
        yield from unread
