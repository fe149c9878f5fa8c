"""What is done, running, failed and left of a plan: from the records alone, without Ray, Optuna or MLflow."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from kdbench import plan as planning
from kdbench.home import Home
from kdbench.plan import Plan, Run, Study
from kdbench.records import Record
from kdbench.search.finals import Finals
from kdbench.search.inventory import inventory, recorded
from kdbench.search.ledger import Ledger, Result, StudyTrials
from kdbench.search.progress import Counts, Status, StudyStatus
from kdbench.search.store import Store


@dataclass(frozen=True)
class Row:
    """A planned final run; without a key while its study is not over."""

    run: Run
    result: Result | None

    @property
    def done(self) -> bool:
        """Whether it has a result that counts."""
        return self.result is not None and self.result.counts

    @property
    def missing(self) -> str:
        """What it is and why it has no result, for a person."""
        why = "not run yet" if self.result is None else _why(self.result)
        return f"{planning.describe(self.run)}: {why}"


def status(plan: Plan, home: Home) -> Status:
    """How far the launches of `plan` in `home` are."""
    ledger = Ledger(plan, _records(plan, home))
    return status_of(plan, ledger, settled_finals(plan, ledger))


def recorded_runs(plan: Plan, home: Home) -> list[tuple[Run, Record]]:
    """Every planned run that has a record, with it, once for each pair that plans it."""
    known = list(_records(plan, home))
    ledger = Ledger(plan, known)
    return list(recorded(inventory(plan, ledger, settled_finals(plan, ledger)), known))


def _records(plan: Plan, home: Home) -> Iterator[Record]:
    store = Store(plan, home)
    store.fetch()
    return store.records()


def settled_finals(plan: Plan, ledger: Ledger) -> Finals:
    """The final runs, of all studies whose budget has results."""
    finals = Finals(plan)
    for key, trials in ledger.studies.items():
        if trials.finished:
            finals.settle(key, trials.best)
    return finals


def status_of(plan: Plan, ledger: Ledger, finals: Finals) -> Status:
    """The same of what is known already; `finals` are settled for the studies that are over."""
    rows = list(rows_of(plan, ledger, finals))
    return Status(
        counts=count(plan, ledger, rows),
        studies=tuple(_study(study, ledger.studies[study.key]) for study in plan.studies),
        missing=tuple(row.missing for row in rows if not row.done),
    )


def rows_of(plan: Plan, ledger: Ledger, finals: Finals) -> Iterator[Row]:
    """Every planned final run, default ones first."""
    for run, _ in plan.defaults:
        yield Row(run, ledger.results.get(run.key))
    for slot in plan.finals:
        run = finals.of_slot.get(slot) or planning.tuned_run(plan, slot, "", "tuned")
        yield Row(run, ledger.results.get(run.key))


def count(plan: Plan, ledger: Ledger, rows: list[Row]) -> Counts:
    """How far everything is. Work shared by several pairs is counted once for trials, in every row for
    finals.
    """
    studies = list(ledger.studies.values())
    states = Counter(trial.state for trials in studies for trial in trials.within())
    running = [result for result in ledger.results.values() if result.state == "running"]
    return Counts(
        studies=len(studies),
        studies_done=sum(trials.finished for trials in studies),
        trials=sum(trials.study.trials for trials in studies),
        trials_done=sum(trials.ended for trials in studies),
        finals=len(rows),
        finals_done=sum(row.done for row in rows),
        teachers=len(plan.teachers),
        teachers_done=sum(ledger.has(planned.key) for planned in plan.teachers),
        running=states["running"] + len({row.run.key for row in rows} & {result.key for result in running}),
        pruned=states["pruned"],
        diverged=states["diverged"],
        failed=states["failed"],
    )


def _study(study: Study, trials: StudyTrials) -> StudyStatus:
    return StudyStatus(
        label=study.label,
        pair=study.pair,
        fraction=study.fraction,
        trials=study.trials,
        states=dict(Counter(trial.state for trial in trials.within())),
        best=trials.best.value if trials.best else None,
    )


def _why(result: Result) -> str:
    if result.state == "running":
        return "begun, not ended"
    first = result.message.strip().splitlines()[:1]
    return f"{result.state}: {result.reason}" + "".join(f" ({line})" for line in first)
