"""`resources: auto`: how many runs share a GPU, decided by what one, two, four … of them take."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from kdbench.search.work import Share

PAYS = 1.1  # twice as many runs at once must finish at least this much more work per second
MEMORY_SPARED = 0.2  # of what was measured: methods differ, and an allocator's memory falls to pieces
MOST = 16  # runs on one GPU


@dataclass(frozen=True)
class Measured:
    """Some equal runs at once on one GPU."""

    runs: int
    seconds: float  # that an epoch of each takes
    memory: int  # bytes that each takes at its peak, all of its process counted

    @property
    def rate(self) -> float:
        """Epochs per second of all together."""
        return self.runs / self.seconds


@dataclass(frozen=True)
class Packing:
    """How many runs of a pair share a GPU, and why."""

    runs: int
    why: str

    def share(self, cores: float, gpus: float) -> Share:
        """What one of them holds on machines with so many cores and GPUs in all."""
        fair = cores / (gpus * self.runs)
        return Share(cpu=1.0 if fair >= 1 else math.floor(100 * fair) / 100, gpu=1 / self.runs)


def pack(measure: Callable[[int], Measured], memory: int) -> Packing:
    """Double the runs while they fit into `memory` bytes and it pays; `measure(n)` runs n at once.

    `measure` raises MemoryError where they do not fit after all.
    """
    best = measure(1)
    alone = f"an epoch takes {best.seconds:.2g} s and {best.memory / 2**30:.1f} GiB alone"
    for runs in itertools.takewhile(lambda n: n <= MOST, (2**k for k in itertools.count(1))):
        if runs * best.memory * (1 + MEMORY_SPARED) > memory:
            return Packing(best.runs, f"{alone}; {runs} at once do not fit into {memory / 2**30:.0f} GiB")
        try:
            tried = measure(runs)
        except MemoryError:
            return Packing(best.runs, f"{alone}; {runs} at once ran out of memory")
        if tried.rate < PAYS * best.rate:
            gain = tried.rate / best.rate
            return Packing(best.runs, f"{alone}; {runs} at once do {gain:.2f} × the work of {best.runs}")
        best = tried
    return Packing(best.runs, f"{alone}; more than {MOST} were not tried")
