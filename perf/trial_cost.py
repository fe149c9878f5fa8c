"""The marginal cost of a trivial trial: through kdbench, and by Ray Tune alone with reused actors.

    python perf/trial_cost.py [--trials 150] [--rounds 2]

Both run in one Ray of two slots, in turns. A trial reports one epoch and ends. kdbench asks TPE, writes a
record twice (with fsync), keeps Optuna's journal; Ray Tune draws at random and keeps nothing. The cost is
the time from the first result to the last, divided by the trials between them. Target: at most 1.5 times
Ray Tune alone.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from setting import Nobody, local_ray, made_plan

from kdbench import search
from kdbench.home import Home
from kdbench.plan import Plan, Run
from kdbench.records import Record
from kdbench.search.progress import Silent


class Clock(Silent):
    """When trials ended."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def ended(self, run: Run, record: Record) -> None:
        """Note when a trial ended."""
        if run.kind == "trial":
            self.moments.append(time.perf_counter())


def through_kdbench(plan: Plan, folder: Path) -> float:
    clock = Clock()
    search.launch(plan, home=Home(folder), tracker=Nobody(), progress=clock, execute="works:trivial")
    return cost(clock.moments)


def by_tune_alone(trials: int, folder: Path) -> float:
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner

    moments: list[float] = []

    class Ends(Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            moments.append(time.perf_counter())

    def trial(config: dict[str, float]) -> None:
        tune.report({"accuracy": config["lr"]})

    Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"lr": tune.loguniform(1e-3, 1.0)},
        tune_config=TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=RunConfig(storage_path=str(folder), verbose=0, callbacks=[Ends()]),
    ).fit()
    return cost(moments)


def cost(moments: list[float]) -> float:
    """Milliseconds per trial from the first end to the last."""
    return 1e3 * (moments[-1] - moments[0]) / (len(moments) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name, local_ray(2):
        folder = Path(name)
        plan = made_plan(folder, trials=given.trials, epochs=1)
        for number in range(given.rounds):
            theirs.append(by_tune_alone(given.trials, folder / f"tune{number}"))
            ours.append(through_kdbench(plan, folder / f"kdbench{number}"))
            print(f"round {number + 1}: Ray Tune {theirs[-1]:.1f} ms, kdbench {ours[-1]:.1f} ms per trial")
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"median: Ray Tune {statistics.median(theirs):.1f} ms, kdbench {statistics.median(ours):.1f} ms")
    print(f"ratio:  {ratio:.2f}")


if __name__ == "__main__":
    main()
