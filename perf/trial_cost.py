"""The marginal cost of a trivial trial: through kdbench, and by Ray Tune alone with reused actors.

    python perf/trial_cost.py [--trials 150] [--rounds 3]

All run in one Ray of two slots, in turns; a trial reports one epoch and ends. kdbench is set against Ray
Tune's random search as a list of trials that is made beforehand and can learn nothing from results, as a
Searcher that draws two numbers, and against its OptunaSearch with TPE. kdbench also writes a record twice
(with fsync) and keeps the journal; Ray Tune keeps nothing. The cost is the time from the first end to the
last by the trials between them. Target: at most 1.5 times Ray Tune alone.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from setting import Nobody, local_ray, made_plan

from kdbench import search
from kdbench.home import Home
from kdbench.plan import Run
from kdbench.records import Record
from kdbench.search.progress import Silent

WAITING = 6  # trials that Tune is asked to keep in flight with a searcher, as kdbench does for two slots
RIVALS = {"list": "random", "searcher": "random", "optuna": "tpe"}  # Tune's ways -> kdbench's sampler


class Clock(Silent):
    """When trials ended."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def ended(self, run: Run, record: Record) -> None:
        """Note when a trial ended."""
        if run.kind == "trial":
            self.moments.append(time.perf_counter())


def through_kdbench(sampler: str, trials: int, folder: Path) -> float:
    folder.mkdir(parents=True)
    plan = made_plan(folder, trials=trials, epochs=1, sampler=sampler)
    clock = Clock()
    search.launch(plan, home=Home(folder), tracker=Nobody(), progress=clock, execute="works:trivial")
    return cost(clock.moments)


def by_tune_alone(way: str, trials: int, folder: Path) -> float:
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # complains that there are no files per trial
    moments: list[float] = []

    class Random(Searcher):  # type: ignore[misc]
        """The least that a searcher can do."""

        def suggest(self, trial_id: str) -> dict[str, float]:
            """Two random numbers."""
            return {"lr": random.random(), "weight_decay": random.random()}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing is learnt."""

    class Ends(Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            moments.append(time.perf_counter())

    def trial(config: dict[str, float]) -> None:
        tune.report({"accuracy": config["lr"]})

    made = {"lr": tune.loguniform(1e-3, 1.0), "weight_decay": tune.loguniform(1e-5, 1e-2)}
    settings: dict[str, Any] = {"metric": "accuracy", "mode": "max", "num_samples": trials}
    if way != "list":
        searcher = OptunaSearch() if way == "optuna" else Random(metric="accuracy", mode="max")
        settings |= {"search_alg": searcher, "max_concurrent_trials": WAITING}
    Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={} if way == "searcher" else made,
        tune_config=TuneConfig(reuse_actors=True, **settings),
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
        costs: dict[str, list[float]] = defaultdict(list)
        for number in range(given.rounds):
            folder = Path(name) / str(number)
            for way in RIVALS:
                costs[f"Ray Tune, {way}"].append(by_tune_alone(way, given.trials, folder / way))
            for sampler in dict.fromkeys(RIVALS.values()):
                costs[f"kdbench, {sampler}"].append(through_kdbench(sampler, given.trials, folder / sampler))
            print(f"round {number + 1}:", {what: round(taken[-1], 1) for what, taken in costs.items()})
        median = {what: statistics.median(taken) for what, taken in costs.items()}
        for way, sampler in RIVALS.items():
            us, them = median[f"kdbench, {sampler}"], median[f"Ray Tune, {way}"]
            print(f"{way}: Ray Tune {them:.1f} ms, kdbench with {sampler} {us:.1f} ms; ratio {us / them:.2f}")


if __name__ == "__main__":
    main()
