"""Every planned run that is known, by the key of its work."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from kdbench import plan as planning
from kdbench.plan import Plan, Run
from kdbench.records import Record
from kdbench.search.finals import Finals
from kdbench.search.ledger import Ledger


def inventory(plan: Plan, ledger: Ledger, finals: Finals) -> dict[str, list[Run]]:
    """Key -> the runs it stands for, one in each pair that plans it."""
    found: defaultdict[str, list[Run]] = defaultdict(list)
    for planned in plan.teachers:
        found[planned.key].append(planning.teacher_run(planned))
    for study in plan.studies:
        for trial in ledger.studies[study.key].within():
            found[trial.key].append(planning.trial_run(plan, study, trial.number, trial.sampled))
    for key, final in finals.known.items():
        found[key] += final.runs
    for run in finals.of_slot.values():
        if run.key not in finals.known:  # of a study without a complete trial
            found[run.key].append(run)
    return found


def recorded(runs: dict[str, list[Run]], known: Iterable[Record]) -> Iterator[tuple[Run, Record]]:
    """The planned runs that have a record, with it."""
    for record in known:
        for run in runs.get(record.key, ()):
            yield run, record
