"""A trial as the search remembers it: what its record says, without the learning curves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kdbench.methods.contract import Scalar
from kdbench.records import Epoch, Reason, Record, State

OBJECTIVE = "val/accuracy"  # of the last epoch, maximised
TIE_BREAK = "val/loss"  # lower is better


@dataclass(frozen=True)
class Trial:
    """One trial of a study; small, for studies of ten thousands."""

    number: int
    key: str
    state: State
    sampled: Mapping[str, Scalar]
    value: float | None = None  # the objective at the last epoch, where there was one
    loss: float = float("inf")  # validation loss there
    steps: Mapping[int, float] = field(default_factory=dict)  # whole rung -> the objective there
    rungs: Mapping[int, float] = field(default_factory=dict)  # milestone -> the value the scheduler compared
    reason: Reason | None = None
    message: str = ""
    began: float = 0.0  # seconds since the epoch
    finished: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether there is a result, whatever it is."""
        return self.state != "running"

    @staticmethod
    def of(record: Record) -> "Trial":
        """What a trial's record says."""
        last = record.history[-1].metrics if record.history else {}
        return Trial(
            number=record.number,
            key=record.key,
            state=record.state,
            sampled=record.sampled,
            value=last.get(OBJECTIVE),
            loss=last.get(TIE_BREAK, float("inf")),
            steps=steps(record.history),
            rungs={int(milestone): value for milestone, value in record.rungs.items()},
            reason=record.reason,
            message=record.message,
            began=record.started,
            finished=record.ended,
        )


def steps(history: Iterable[Epoch]) -> dict[int, float]:
    """The objective at every whole rung: the first epoch that reached it."""
    found: dict[int, float] = {}
    for epoch in history:
        if epoch.rung >= 1 and OBJECTIVE in epoch.metrics:
            found.setdefault(int(epoch.rung), epoch.metrics[OBJECTIVE])
    return found


def best_trial(trials: Iterable[Trial], budget: int) -> Trial | None:
    """The complete trial numbered below `budget` with the highest objective; ties: lower loss, then lower
    number.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.number < budget]
    return min(complete, key=_rank, default=None)


def _rank(trial: Trial) -> tuple[float, float, int]:
    return (-(trial.value if trial.value is not None else float("-inf")), trial.loss, trial.number)
