"""One study while it is searched: its budget, its sampler, its rungs, its errors."""

import math
import re
from collections import Counter
from collections.abc import Mapping

from kdbench.methods.contract import Scalar
from kdbench.plan import Plan
from kdbench.records import Epoch
from kdbench.search.asha import Asha, milestones
from kdbench.search.ledger import StudyTrials
from kdbench.search.sampling import Sampler
from kdbench.search.trial import OBJECTIVE, Trial

EQUAL_ERRORS = 3  # trials that fail alike, while none gets through, end a study
CONCURRENT_SHARE = 4  # a study has at most a quarter of its trials in flight while anything else can run


class StudySearch:
    """The search of one study. Counts its own trials in flight; knows neither keys nor files."""

    def __init__(self, plan: Plan, trials: StudyTrials):
        settings, study = plan.suite.search, trials.study
        self.study, self._trials = study, trials
        marks = milestones(
            settings.scheduler, settings.grace_epochs, settings.reduction_factor, plan.suite.training.epochs
        )
        self._asha = Asha(marks, settings.reduction_factor)
        self._sampler = Sampler(settings.sampler, study.space, plan.suite.seed, study.key)
        self._sampler.restore(trials.trials.values())
        for trial in trials.trials.values():
            self._asha.restore(trial.number, trial.rungs)
        self._errors: Counter[str] = (
            Counter()
        )  # of this launch: the method may have been mended since the last
        self.given_up = ""  # why no more trials are asked for

    @property
    def wants(self) -> bool:
        """Whether there is a trial to ask for."""
        return not self.given_up and self._trials.next_number() is not None

    @property
    def advance(self) -> float:
        """Share of the budget that was asked for."""
        return self._trials.begun / self.study.trials

    @property
    def dropped(self) -> int:
        """Trials of the budget that will not be asked for."""
        return self.study.trials - self._trials.begun if self.given_up else 0

    @property
    def in_flight(self) -> int:
        """Trials that were asked for and have no result."""
        return len(self._trials.running)

    @property
    def crowded(self) -> bool:
        """Whether another trial now would learn too little from those in flight."""
        return self.in_flight >= math.ceil(self.study.trials / CONCURRENT_SHARE)

    @property
    def over(self) -> bool:
        """Whether nothing more will come: the final runs can be settled."""
        return self._trials.finished or bool(self.given_up and not self.in_flight)

    @property
    def best(self) -> Trial | None:
        """The best complete trial so far."""
        return self._trials.best

    def ask(self) -> tuple[int, dict[str, Scalar]]:
        """The next trial: its number and its searched values; the suite's own points come first."""
        number = self._trials.next_number()
        assert number is not None  # noqa: S101 - asked only where `wants`
        if number < len(self.study.enqueued):
            return number, dict(self.study.enqueued[number])
        return number, self._sampler.ask(number)

    def started(self, trial: Trial) -> None:
        """A trial was handed out."""
        self._trials.put(trial)
        self._sampler.started(trial)

    def stop(self, number: int, epochs: tuple[Epoch, ...]) -> bool:
        """Whether the scheduler stops trial `number` after these epochs. The default point is never
        stopped.
        """
        return any([self._asha.report(number, e.rung, e.metrics[OBJECTIVE]) for e in epochs]) and number > 0

    def stop_resumed(self, number: int, epochs: tuple[Epoch, ...]) -> bool:
        """Whether a trial that goes on after these epochs should have been stopped at the last of them.

        At those before it was judged by the launch that let it go on.
        """
        self.stop(number, epochs)
        return number > 0 and self._asha.judge(number, epochs[-1].rung)

    def rungs(self, number: int) -> Mapping[str, float]:
        """Milestone -> the value that trial `number` was compared by."""
        return self._asha.rungs(number)

    def ended(self, trial: Trial) -> None:
        """A trial has a result; enough equal errors, while no trial gets through, give the study up."""
        self._trials.put(trial)
        self._sampler.tell(trial)
        if trial.reason == "error":
            self._errors[_kind(trial.message)] += 1
        through = any(t.state in ("complete", "pruned") for t in self._trials.trials.values())
        if not through and max(self._errors.values(), default=0) >= EQUAL_ERRORS:
            self.given_up = f"{EQUAL_ERRORS} trials failed alike: {_first_line(trial.message)}"


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else ""


def _kind(message: str) -> str:
    """A message without its numbers: shapes and values differ between equal errors."""
    return re.sub(r"\d+", "#", _first_line(message))
