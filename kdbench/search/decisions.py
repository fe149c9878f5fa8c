"""The decision log of a launch: how busy the slots were, how long decisions took, what was done again."""

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from kdbench import records


class Decisions:
    """Counts and times, kept small: sums, and the slowest."""

    def __init__(self) -> None:
        self._number: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._slowest: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one decision of the kind `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self._number[name] += 1
            self._seconds[name] += seconds
            self._slowest[name] = max(self._slowest[name], seconds)

    def metrics(self) -> dict[str, float]:
        """Of every kind: how many, and milliseconds on average and at most."""
        found: dict[str, float] = {}
        for name, number in self._number.items():
            found[f"decisions/{name}_count"] = number
            found[f"decisions/{name}_ms"] = 1e3 * self._seconds[name] / number
            found[f"decisions/{name}_ms_max"] = 1e3 * self._slowest[name]
        return found


def write(folder: Path, metrics: Mapping[str, float]) -> Path:
    """Write `decisions.json` into the launch folder."""
    return records.write_atomically(folder / "decisions.json", json.dumps(metrics, indent=1, sort_keys=True))
