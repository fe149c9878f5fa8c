"""What is known of a plan from the records alone: trials by study, results by key. Imports neither Ray nor
Optuna.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdbench import records
from kdbench.plan import Plan, Study
from kdbench.records import Kind, Reason, Record, State
from kdbench.search.trial import OBJECTIVE, TIE_BREAK, Trial, best_trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What is remembered of a final run or a teacher."""

    key: str
    kind: Kind
    state: State
    seed: int
    accuracy: float  # on validation, at the last epoch; -inf where there is none
    loss: float
    reason: Reason | None = None
    message: str = ""

    @staticmethod
    def of(record: Record) -> "Result":
        """What its record says."""
        last = record.history[-1].metrics if record.history else {}
        accuracy, loss = last.get(OBJECTIVE, float("-inf")), last.get(TIE_BREAK, float("inf"))
        return Result(
            record.key, record.kind, record.state, record.seed, accuracy, loss, record.reason, record.message
        )

    @property
    def counts(self) -> bool:
        """Whether it need not be run again: a diverged run would only diverge again, a failed one may
        succeed.
        """
        return self.state in ("complete", "diverged")


class StudyTrials:
    """The trials of one study by number; all answers are quick in a study of ten thousand."""

    def __init__(self, study: Study):
        self.study = study
        self.trials: dict[int, Trial] = {}
        self.running: dict[int, Trial] = {}  # within the budget, asked for and without a result
        self.best: Trial | None = None  # see `best_trial`
        self.begun = 0  # trials within the budget that were asked for
        self._next = 0

    def put(self, trial: Trial) -> None:
        """Take in a trial, new or changed. Of two trials of one number the ended one stays, then the lower
        key.
        """
        known = self.trials.get(trial.number)
        if known is not None and known.key != trial.key and _order(known) < _order(trial):
            return
        self.begun += known is None and trial.number < self.study.trials
        self.trials[trial.number] = trial
        self.running.pop(trial.number, None)
        if trial.number < self.study.trials and not trial.ended:
            self.running[trial.number] = trial
        self.best = best_trial((trial, *([self.best] if self.best else [])), self.study.trials)

    @property
    def ended(self) -> int:
        """Trials within the budget that have a result."""
        return self.begun - len(self.running)

    @property
    def finished(self) -> bool:
        """Whether the whole budget has results."""
        return self.ended >= self.study.trials

    def within(self) -> Iterator[Trial]:
        """The trials within the budget."""
        return (trial for trial in self.trials.values() if trial.number < self.study.trials)

    def next_number(self) -> int | None:
        """The lowest number within the budget that was never asked for."""
        while self._next in self.trials:
            self._next += 1
        return self._next if self._next < self.study.trials else None


def _order(trial: Trial) -> tuple[bool, str]:
    return (not trial.ended, trial.key)


class Ledger:
    """All records that concern a plan."""

    def __init__(self, plan: Plan, known: Iterable[Record] = ()):
        self.studies: dict[str, StudyTrials] = {s.key: StudyTrials(s) for s in reversed(plan.studies)}
        self.studies = dict(reversed(self.studies.items()))
        self.results: dict[str, Result] = {}
        for record in known:
            self.put(record)

    def put(self, record: Record) -> None:
        """Take in a record, new or changed; trials of other studies are left."""
        if record.kind != "trial":
            self.results[record.key] = Result.of(record)
        elif record.study in self.studies:
            self.studies[record.study].put(Trial.of(record))

    def has(self, key: str) -> bool:
        """Whether the final run or teacher `key` need not be run."""
        return key in self.results and self.results[key].counts


def read(folder: Path) -> Iterator[Record]:
    """The records in `folder`; a file that is none is named in the log and counts as missing."""
    for path in sorted(folder.glob("*.json")):
        record = read_one(path)
        if record is not None:
            yield record


def read_one(path: Path) -> Record | None:
    """The record in `path`; None where there is none or, named in the log, something else."""
    try:
        return records.read(path)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is left out: %s", path, error)
        return None


def studies_by_key(plan: Plan) -> Mapping[str, tuple[Study, ...]]:
    """Studies of equal key: the same search, reported in several pairs."""
    found: dict[str, tuple[Study, ...]] = {}
    for study in plan.studies:
        found[study.key] = (*found.get(study.key, ()), study)
    return found
