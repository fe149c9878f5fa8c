"""Ten thousand trials on 256 slots without Ray: how long decisions take at the end, and how much memory.

    python perf/simulate.py [--trials 10000] [--studies 10] [--slots 256] [--epochs 9]

The real dispatcher, samplers, halving, and the clerk who writes records (with fsync) and the journal in a
thread of its own, in simulated time: trainings are entries in a queue of events. `next` asks the sampler;
`report` is one epoch through the scheduler; `end` takes a result in. Printed for the first and the last
thousand of each, and how long writing lasted beyond the last decision. Target: under 20 ms at the end.
"""

import argparse
import heapq
import random
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from setting import Nobody, made_plan

from kdbench import methods
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.records import Epoch
from kdbench.search.books import LaunchBooks
from kdbench.search.clerk import Clerk
from kdbench.search.dispatcher import Dispatcher
from kdbench.search.journal import Journal
from kdbench.search.ledger import Ledger
from kdbench.search.progress import Silent
from kdbench.search.store import Store
from kdbench.search.work import Message, Share, Work
from kdbench.training import Outcome


class Simulation:
    """A cluster whose trainings take simulated time."""

    def __init__(self, plan: Plan, home: Home, slots: int, epochs: int):
        journal = Journal(home.launch("perf") / "optuna.journal", plan.studies, {})
        self.clerk = Clerk(Store(plan, home), journal, Nobody())
        books = LaunchBooks(self.clerk, Silent())
        self.dispatcher = Dispatcher(plan, Ledger(plan), books, {"": Share()})
        self.slots, self.epochs = slots, epochs
        self.took: defaultdict[str, list[float]] = defaultdict(list)  # seconds of every decision
        self.events: list[tuple[float, int, Work, list[Epoch]]] = []
        self.waiting: list[Work] = []
        self.running = self.count = 0
        self.random = random.Random(0)

    def run(self) -> None:
        """To the end of the plan."""
        now = 0.0
        while self.fill(now) or self.events:
            now, _, work, history = heapq.heappop(self.events)
            self.step(now, work, history)

    def fill(self, now: float) -> bool:
        """Hand out runs as a launch does: twice the slots and two are in flight."""
        while len(self.dispatcher.flights) < 2 * self.slots + 2:
            work = self.timed("next", lambda: self.dispatcher.next(self.slots))
            if work is None:
                break
            self.waiting.append(work)
        while self.waiting and self.running < self.slots:
            self.running += 1
            self.push(now, self.waiting.pop(0), [])
        return bool(self.events)

    def step(self, now: float, work: Work, history: list[Epoch]) -> None:
        """One epoch of a run, or its end."""
        if len(history) == self.epochs:
            outcome = asdict(Outcome("complete", history=tuple(history)))
            self.timed("end", lambda: self.dispatcher.ended(work.key, Message(outcome=outcome, busy=1.0)))
            self.running -= 1
            return
        value = 0.9 - abs(work.job.recipe.lr - 0.1) + 0.01 * len(history) + self.random.gauss(0, 0.01)
        metrics = {"val/accuracy": value, "val/loss": 1 - value}
        history.append(Epoch(len(history) + 1, "distil", float(len(history) + 1), metrics))
        message = Message((history[-1],), busy=float(len(history)))
        if self.timed("report", lambda: self.dispatcher.report(work.key, message)):
            self.running -= 1
        else:
            self.push(now, work, history)

    def push(self, now: float, work: Work, history: list[Epoch]) -> None:
        """The next epoch of a run takes about one unit of time."""
        self.count += 1
        heapq.heappush(self.events, (now + self.random.uniform(0.5, 1.5), self.count, work, history))

    def timed(self, name: str, decide: Callable[[], Any]) -> Any:
        """Time one decision; asking in vain is none."""
        began = time.perf_counter()
        answer = decide()
        if answer is not None or name != "next":
            self.took[name].append(time.perf_counter() - began)
        return answer


def described(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    most = ordered[int(0.99 * len(ordered))]
    return f"{1e3 * statistics.fmean(ordered):6.2f} ms, 99 % under {1e3 * most:6.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=9)
    given = parser.parse_args()
    names = [name for name in methods.names() if methods.get(name).teacher == "pair"][: given.studies]
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name))
        plan = made_plan(
            home.root,
            trials=given.trials // len(names),
            epochs=given.epochs,
            methods=names,
            scheduler="asha",
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        simulation = Simulation(plan, home, given.slots, given.epochs)
        began = time.perf_counter()
        simulation.run()
        whole = time.perf_counter() - began
        simulation.clerk.close()
        writing = time.perf_counter() - began - whole
        journal = (home.launch("perf") / "optuna.journal").stat().st_size
        records = len(list(home.results.glob("*.json")))
    for kind, took in simulation.took.items():
        print(f"{kind:7} first 1,000: {described(took[:1000])}")
        print(f"{'':7} last 1,000:  {described(took[-1000:])}  ({len(took)} in all)")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{records} records of {len(names)} studies in {whole:.0f} s; memory grew by {grown / 1024:.0f} MB")
    print(f"journal: {journal / 1e6:.0f} MB; writing went on for {writing:.1f} s after the last decision")


if __name__ == "__main__":
    main()
