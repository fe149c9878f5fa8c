"""Which trained students stay: of each study at each fraction the one that validates best, by default."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from kdbench.plan import Plan, Run
from kdbench.records import Record


def best_final(finals: Iterable[tuple[Run, Record]]) -> tuple[Run, Record] | None:
    """The complete run with the highest last-epoch validation accuracy; the test accuracy is never looked at.

    Ties: lower validation loss, then lower seed. None where no run is complete.
    """
    complete = [(run, record) for run, record in finals if record.state == "complete" and record.history]
    return min(complete, key=_rank, default=None)


def _rank(final: tuple[Run, Record]) -> tuple[float, float, int]:
    run, record = final
    last = record.history[-1].metrics
    return -last["val/accuracy"], last["val/loss"], run.seed


@dataclass(frozen=True)
class Decision:
    """What to do about students, now that a final run has ended."""

    keep: tuple[tuple[Run, Record], ...] = ()  # as models
    champion: str = ""  # key of one of these: the best of its study, at the largest fraction
    drop: tuple[str, ...] = ()  # keys whose weights nobody needs


@dataclass
class _Group:
    """The tuned finals of one study at one fraction, and the default ones beside them."""

    planned: int = 0
    tuned: dict[str, tuple[Run, Record]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)


class Keeper:
    """Decides as soon as all tuned finals of a study at a fraction have ended, whatever their order."""

    def __init__(self, plan: Plan):
        self._keep = plan.suite.students.keep
        self._largest = max(plan.suite.fractions)
        self._groups: defaultdict[tuple[str, str, float], _Group] = defaultdict(_Group)
        for slot in plan.finals:
            self._groups[slot.study, slot.pair, slot.fraction].planned += 1

    def ended(self, run: Run, record: Record) -> Decision:
        """What follows from the end of this final run."""
        if self._keep == "none":
            return Decision(drop=(run.key,))
        group = self._groups[run.study, run.pair, run.fraction]
        if run.config == "default":
            if run.key not in group.tuned:
                group.others.add(run.key)
        else:
            group.tuned[run.key] = (run, record)
            group.others.discard(run.key)
        keep = {run.key: (run, record)} if self._keep == "all" and record.state == "complete" else {}
        if len(group.tuned) < group.planned:
            return Decision(keep=tuple(keep.values()))
        best = best_final(group.tuned.values())
        champion = ""
        if best is not None:
            keep[best[0].key] = best
            champion = best[0].key if run.fraction == self._largest else ""
        losers = set() if self._keep == "all" else {*group.tuned, *group.others} - keep.keys()
        return Decision(tuple(keep.values()), champion, tuple(sorted(losers)))
