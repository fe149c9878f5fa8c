"""Asynchronous successive halving within one study (Li et al. 2020, arXiv:1810.05934), in its stopping form.

Milestones are `grace * factor**k` below `epochs`. A trial that reaches one goes on if its value is among
the best `floor(n / factor)` (at least one) of the `n` values seen there, its own included. Nothing is ever
resumed.
"""

import bisect
from collections.abc import Iterable, Mapping


class Asha:
    """The rungs of one study. Values are maximised; equal values go on together."""

    def __init__(self, milestones: Iterable[int], factor: int):
        self._factor = factor
        self._rungs: dict[int, dict[int, float]] = {milestone: {} for milestone in milestones}
        self._sorted: dict[int, list[float]] = {milestone: [] for milestone in self._rungs}

    def restore(self, number: int, rungs: Mapping[int, float]) -> None:
        """Take up what trial `number` had at each milestone in an earlier launch; unknown milestones are
        left.
        """
        for milestone, value in rungs.items():
            if milestone in self._rungs:
                self._enter(number, milestone, value)

    def report(self, number: int, rung: float, value: float) -> bool:
        """Whether trial `number` should stop, having `value` at `rung`.

        Enters the value at every milestone that is reached for the first time. A value that is there
        already stays, and is judged again only by `judge`.
        """
        reached = [m for m, values in self._rungs.items() if m <= rung and number not in values]
        for milestone in reached:
            self._enter(number, milestone, value)
        return any(not self._good(milestone, value) for milestone in reached)

    def judge(self, number: int, rung: float) -> bool:
        """Whether trial `number`, which stands at `rung` and may have missed its verdict there, should
        stop.
        """
        passed = [m for m, values in self._rungs.items() if m <= rung < m + 1 and number in values]
        return any(not self._good(milestone, self._rungs[milestone][number]) for milestone in passed)

    def rungs(self, number: int) -> dict[str, float]:
        """Milestone -> the value that trial `number` was compared by."""
        return {str(m): values[number] for m, values in self._rungs.items() if number in values}

    def _enter(self, number: int, milestone: int, value: float) -> None:
        if number not in self._rungs[milestone]:
            self._rungs[milestone][number] = value
            bisect.insort(self._sorted[milestone], value)

    def _good(self, milestone: int, value: float) -> bool:
        values = self._sorted[milestone]
        return value >= values[-max(1, len(values) // self._factor)]


def milestones(scheduler: str, grace: int, factor: int, epochs: int) -> tuple[int, ...]:
    """Where trials of `epochs` epochs are compared; nowhere under the scheduler "none"."""
    found: list[int] = []
    step = grace
    while scheduler == "asha" and step < epochs:
        found.append(step)
        step *= factor
    return tuple(found)
