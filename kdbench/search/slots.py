"""How many runs fit on the cluster at once."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from kdbench.search.work import Share

LOOK_EVERY_S = 5.0  # nodes come and go over minutes
_ROUNDING = 1e-9  # 0.3 of a GPU three times and a bit must not lose a slot to rounding


def count(nodes: Iterable[Mapping[str, Any]], share: Share) -> int:
    """Runs of `share` that fit on `nodes` (as `ray.nodes()` gives them) at once."""
    total = 0
    for node in nodes:
        if node["Alive"]:
            cores, gpus = (node["Resources"].get(name, 0.0) for name in ("CPU", "GPU"))
            by_cores = _times(share.cpu, cores)
            total += min(by_cores, _on_gpus(share.gpu, gpus)) if share.gpu else by_cores
    return total


def _on_gpus(share: float, gpus: float) -> int:
    # A share lies on one GPU: two remainders of 0.2 do not make room for one of 0.4.
    return int(gpus) * _times(share, 1.0) if share < 1 else _times(share, gpus)


def _times(part: float, whole: float) -> int:
    return int(whole / part + _ROUNDING)


class Slots:
    """The slots of a cluster as it grows and shrinks, and how long they were there."""

    def __init__(self, share: Share):
        """`share` is what one run holds; of several kinds of runs, the largest."""
        self._share = share
        self._looked = float("-inf")
        self._slots = 0
        self.available = 0.0  # slot-seconds from the first work to the latest
        self._began: float | None = None
        self._since: float | None = None

    def now(self) -> int:
        """Slots of the nodes that are alive; 0 on a cluster that has yet to grow."""
        moment = time.monotonic()
        if moment - self._looked >= LOOK_EVERY_S:
            self._count_time(moment)
            self._slots, self._looked = count(ray.nodes(), self._share), moment
        return self._slots

    @property
    def limit(self) -> int:
        """Runs in flight at most. Beyond the slots, so that a free worker finds a run that waits.

        Twice, for a worker that is still starting must not be the only one that has a run waiting; no more,
        for the sampler knows less about a run that is asked for early.
        """
        return 2 * self._slots + 2

    def busy(self, seconds: float = 0.0) -> None:
        """A run reports, after so many seconds of work: slots count as available from the first work to the
        last.
        """
        moment = time.monotonic()
        if self._began is None:
            self._began = self._since = moment - seconds
        self._count_time(moment)

    @property
    def elapsed(self) -> float:
        """Seconds since the first work."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _count_time(self, moment: float) -> None:
        if self._since is not None:
            self.available += (moment - self._since) * self._slots
            self._since = moment


def whole_device(share: Share, nodes: Iterable[Mapping[str, Any]]) -> Share:
    """What a run holds that must be alone on its device: a whole GPU, or all cores of the largest node."""
    if share.gpu:
        return Share(share.cpu, max(1.0, share.gpu))
    cores = [node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]]
    return Share(max([share.cpu, *cores]))
