"""A run that was handed out, as the driver knows it."""

from dataclasses import dataclass, field

from kdbench.plan import Run
from kdbench.records import Epoch, Record
from kdbench.search.work import Work


@dataclass
class Flight:
    """A run that was handed out: the work and what has come back so far."""

    work: Work
    runs: tuple[Run, ...]  # the rows it belongs to
    record: Record  # as written when it was handed out
    history: dict[int, Epoch] = field(default_factory=dict)
    busy: float = 0.0  # seconds of the attempts before
    now: float = 0.0  # seconds of this attempt at its last report
    kills: int = 0  # workers that died with it
    losses: int = 0  # nodes that went away with it

    @property
    def seconds(self) -> float:
        """Seconds that workers have spent on it."""
        return self.busy + self.now

    def worked(self, seconds: float) -> None:
        """The attempt under way has taken this long; less than before is a new attempt."""
        if seconds < self.now:
            self.busy += self.now
        self.now = seconds
