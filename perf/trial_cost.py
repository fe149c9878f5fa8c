"""The marginal cost of a trivial trial: through kdbench, and by Ray Tune alone with reused actors.

    python perf/trial_cost.py [--trials 150] [--rounds 3]

All run in one Ray of two slots, in turns; a trial reports one epoch and ends. Like is set against like:
random search against Tune's own, TPE against Tune's OptunaSearch. kdbench also writes a record twice (with
fsync) and keeps the journal; Ray Tune keeps nothing. The cost is the time from the first end to the last by
the trials between them. Target: at most 1.5 times Ray Tune alone.
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
from kdbench.plan import Run
from kdbench.records import Record
from kdbench.search.progress import Silent

WAITING = 6  # trials that Tune is asked to keep in flight with OptunaSearch, as kdbench does for two slots


class Clock(Silent):
    """When trials ended."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def ended(self, run: Run, record: Record) -> None:
        """Note when a trial ended."""
        if run.kind == "trial":
            self.moments.append(time.perf_counter())


def through_kdbench(sampler: str, trials: int, folder: Path) -> float:
    folder.mkdir()
    plan = made_plan(folder, trials=trials, epochs=1, sampler=sampler)
    clock = Clock()
    search.launch(plan, home=Home(folder), tracker=Nobody(), progress=clock, execute="works:trivial")
    return cost(clock.moments)


def by_tune_alone(sampler: str, trials: int, folder: Path) -> float:
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner
    from ray.tune.search.optuna import OptunaSearch

    moments: list[float] = []

    class Ends(Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            moments.append(time.perf_counter())

    def trial(config: dict[str, float]) -> None:
        tune.report({"accuracy": config["lr"]})

    space = {"lr": tune.loguniform(1e-3, 1.0), "weight_decay": tune.loguniform(1e-5, 1e-2)}
    tpe = {"search_alg": OptunaSearch(), "max_concurrent_trials": WAITING} if sampler == "tpe" else {}
    Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=TuneConfig(metric="accuracy", mode="max", num_samples=trials, reuse_actors=True, **tpe),
        run_config=RunConfig(storage_path=str(folder), verbose=0, callbacks=[Ends()]),
    ).fit()
    return cost(moments)


def cost(moments: list[float]) -> float:
    """Milliseconds per trial from the first end to the last."""
    return 1e3 * (moments[-1] - moments[0]) / (len(moments) - 1)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, local_ray(2):
        for sampler in ("random", "tpe"):
            ours, theirs = [], []
            for number in range(given.rounds):
                folder = Path(name) / f"{sampler}{number}"
                theirs.append(by_tune_alone(sampler, given.trials, folder / "tune"))
                ours.append(through_kdbench(sampler, given.trials, folder / "kdbench"))
                print(
                    f"{sampler}, round {number + 1}: Ray Tune {theirs[-1]:.1f} ms, kdbench {ours[-1]:.1f} ms"
                )
            us, them = statistics.median(ours), statistics.median(theirs)
            print(f"{sampler}, median: Ray Tune {them:.1f} ms, kdbench {us:.1f} ms; ratio {us / them:.2f}")


if __name__ == "__main__":
    main()
