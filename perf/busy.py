"""How busy two slots are over many short trials, from the first result to the last.

    python perf/busy.py [--trials 60] [--seconds 5]

A trial sleeps, in ten epochs that it reports, so that it takes no core from the driver: what is measured is
how soon a free worker has its next trial. Target: at least 85 % busy.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import works
from setting import Nobody, local_ray, made_plan

from kdbench import search
from kdbench.home import Home
from kdbench.search.progress import Silent

SLOTS = 2


def busy_share(intervals: list[tuple[float, float]]) -> tuple[float, float]:
    """Busy share of the slots between the first end and the last, and that time in seconds."""
    first, last = min(end for _, end in intervals), max(end for _, end in intervals)
    busy = sum(max(0.0, min(end, last) - max(began, first)) for began, end in intervals)
    return busy / (SLOTS * (last - first)), last - first


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    os.environ["KDBENCH_PERF_SECONDS"] = str(given.seconds)
    with tempfile.TemporaryDirectory() as name, local_ray(SLOTS):
        home = Home(Path(name))
        methods = ("original", "hinton", "rkd")
        plan = made_plan(home.root, trials=given.trials // len(methods), epochs=10, methods=methods)
        summary = search.launch(plan, home=home, tracker=Nobody(), progress=Silent(), execute="works:asleep")
        lines = [json.loads(line) for line in (home.root / works.LOG).read_text().splitlines()]
        decisions = json.loads((home.launch("perf") / "decisions.json").read_text())
    share, seconds = busy_share([(began, end) for began, end, _ in lines])
    workers = len({pid for *_, pid in lines})
    print(
        f"{summary.counts.trials} trials and {len(lines) - summary.counts.trials} others in {seconds:.0f} s"
    )
    print(f"workers: {workers}")
    print(f"busy, from first result to last: {100 * share:.1f} %")
    print(f"utilisation in the decision log:  {100 * decisions['utilisation']:.1f} %")


if __name__ == "__main__":
    main()
