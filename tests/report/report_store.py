"""Synthetic runs, labelled as such, in a real MLflow store, with the tags, params and metrics of trackers.

Nothing here was trained: accuracies come from a seeded generator. `write` uses MLflow's client, the real way,
at tens of milliseconds a run; `insert` fills a copy of an MLflow database directly. A test says that both
read the same.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdbench.report.read import Runs, tidy
from kdbench.report.store import HISTORIES, Tables

HASH = hashlib.sha256(b"synthetic digits").hexdigest()
NOW = 1_790_000_000_000  # ms
ENVIRONMENT = {"python": "3.11.7", "kdbench": "0.1.0", "packages": {"torch": "2.13.0"}}
LAUNCH = {"utilisation": 0.93, "busy_slot_s": 930.0, "available_slot_s": 1000.0, "restarts": 2.0} | {
    f"decisions/{name}_{part}": value
    for name in ("suggest", "report", "ended")
    for part, value in (("count", 1234.0), ("ms", 0.5), ("ms_max", 8.7))
}
SYNTHETIC = "synthetic runs for tests: nothing was trained"


@dataclass
class Run:
    """One run as the store has it."""

    kind: str
    name: str
    tags: dict[str, str]
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    histories: dict[str, list[float]] = field(default_factory=dict)  # one value per epoch, from 1
    status: str = "FINISHED"


@dataclass(frozen=True)
class Setting:
    """What `runs` makes runs of."""

    suite: str = "synthetic"
    dataset: str = "digits"
    pairs: Sequence[str] = ("resnet14->resnet8w4",)
    methods: Sequence[str] = ("original", "hinton", "bss")
    fractions: Sequence[float] = (1.0,)
    trials: int = 6
    seeds: int = 3
    epochs: int = 5
    gains: Mapping[str, float] = field(
        default_factory=dict
    )  # method -> gain over original; else 0.002 x position
    spread: float = 0.004  # standard deviation over seeds
    dataset_hash: str = HASH
    generator_seed: int = 0
    extras: bool = False  # log every optional metric of DESIGN too


def runs(setting: Setting = Setting()) -> list[Run]:
    """The launch run, trials and finals of a whole suite."""
    generator = np.random.default_rng(setting.generator_seed)
    launch = {"kind": "launch", "suite": setting.suite, "note": SYNTHETIC}
    made = [Run("launch", setting.suite, launch, metrics=LAUNCH if setting.extras else {})]
    for pair in setting.pairs:
        for index, method in enumerate(setting.methods):
            gain = setting.gains.get(method, 0.002 * index)
            made += _trials(setting, pair, method, gain, generator)
            made += _finals(setting, pair, method, gain, generator)
    return made


def _trials(
    setting: Setting, pair: str, method: str, gain: float, generator: np.random.Generator
) -> list[Run]:
    made = []
    for number in range(setting.trials):
        params = {
            "lr": float(10 ** generator.uniform(-3, -0.3)),
            "weight_decay": float(10 ** generator.uniform(-5, -2.3)),
            "temperature": float(10 ** generator.uniform(0, 1.3)),
            "alpha": float(generator.uniform()),
        }
        good = 0.95 + gain - 0.01 * abs(np.log10(params["lr"]) + 1.3) + generator.normal(0, 0.001)
        pruned = number % 3 == 2
        epochs = max(1, setting.epochs // 2) if pruned else setting.epochs
        tags = common(setting, "trial", method, pair, 1.0, f"{setting.suite}{pair}{method}{number}")
        tags |= {"trial": str(number), "seed": str(number), "state": "pruned" if pruned else "complete"}
        made.append(
            Run(
                "trial",
                f"{method} · {pair} · 100 % · #{number:02}",
                tags,
                params,
                {"val/loss": 1 - good, "train/loss": 0.1, "time/train_s": 2.0, "time/updates": 12.0 * epochs},
                {"val/accuracy": _curve(good, epochs, setting.epochs, generator)},
            )
        )
    return made


def _finals(
    setting: Setting, pair: str, method: str, gain: float, generator: np.random.Generator
) -> list[Run]:
    made = []
    for fraction in setting.fractions:
        for config in ("tuned", "default") if fraction == max(setting.fractions) else ("tuned",):
            for seed in range(setting.seeds):
                good = 0.95 + gain * (1.5 - fraction / 2) - 0.08 * (1 - fraction) ** 2
                good += generator.normal(0, setting.spread) - 0.01 * (config == "default")
                unique = f"{setting.suite}{pair}{method}{fraction}{config}{seed}"
                tags = common(setting, "final", method, pair, fraction, unique)
                tags |= {
                    "seed": str(1000 + seed),
                    "state": "complete",
                    "config": config,
                    "search_fraction": "1.0",
                }
                curve = _curve(good, setting.epochs, setting.epochs, generator)
                audit = [value - 0.002 for value in curve]
                made.append(
                    Run(
                        "final",
                        f"{method} · {pair} · {fraction:.0%} · seed {seed}",
                        tags,
                        {"lr": 0.05, "weight_decay": 5e-4, "temperature": 4.0, "alpha": 0.5},
                        {
                            "test/accuracy": audit[-1],
                            "val/loss": 0.2,
                            "time/train_s": 3.0,
                            "time/updates": 120.0,
                        }
                        | (_extras(method, good, generator) if setting.extras else {}),
                        {"val/accuracy": curve, "audit/test_accuracy": audit},
                    )
                )
    return made


def _curve(end: float, epochs: int, total: int, generator: np.random.Generator) -> list[float]:
    steps = np.arange(1, epochs + 1) / total
    noise = generator.normal(0, 0.002, epochs)
    noise[-1] = 0
    return list(map(float, np.clip(end - 0.3 * (1 - steps) ** 2 + noise, 0, 1)))


def _extras(method: str, good: float, generator: np.random.Generator) -> dict[str, float]:
    metrics = {
        "eval/parameters": 5000.0,
        "eval/flops": 1e6,
        "eval/latency_ms": float(generator.uniform(0.8, 1.2)),
        "eval/ece": float(generator.uniform(0.01, 0.1)),
        "eval/robust_accuracy_fgsm": good - 0.3 + float(generator.normal(0, 0.01)),
        "eval/robust_accuracy_pgd": good - 0.4,
        "eval/agreement": good + 0.01,
    }
    if method != "original":
        metrics |= {"eval/magsim": good - 0.2, "eval/angsim": good - 0.1, "eval/boundary_pairs": 64.0}
    if method == "byot":
        metrics["eval/ensemble_accuracy"] = good + 0.003
        for exit_ in (1, 2, 3):
            metrics[f"eval/exit{exit_}_accuracy"] = good - 0.05 * (3 - exit_)
            metrics[f"eval/exit{exit_}_latency_ms"] = 0.3 * exit_
    if method == "specialists":
        metrics["eval/ensemble_accuracy"] = good + 0.003
        for count, images in enumerate((40.0, 50.0, 10.0)):
            metrics |= {
                f"eval/covered{count}_images": images,
                f"eval/covered{count}_accuracy": 0.9 + 0.01 * count,
                f"eval/covered{count}_teacher_accuracy": 0.9,
            }
    return metrics


def common(
    setting: Setting, kind: str, method: str, pair: str, fraction: float, unique: str
) -> dict[str, str]:
    """The tags that trials and finals share."""
    return {
        "kind": kind,
        "suite": setting.suite,
        "method": method,
        "pair": pair,
        "dataset": setting.dataset,
        "dataset_hash": setting.dataset_hash,
        "fraction": repr(float(fraction)),
        "study": hashlib.sha256(f"{setting.suite}{pair}{method}".encode()).hexdigest(),
        "key": hashlib.sha256(f"{kind}{unique}".encode()).hexdigest(),
        "protocol": hashlib.sha256(f"{setting.dataset}{pair}".encode()).hexdigest()[:8],
        "protocol_label": "default",
        "current": "true",
        "device": "cpu",
        "commit": "0123abc",
    }


def tables(made: Iterable[Run]) -> Tables:
    """What reading a store of these runs gives, without a store."""
    made = list(made)
    ids = [f"{index:032x}" for index in range(len(made))]
    base = pd.DataFrame(
        [
            (i, "1", run.tags["suite"], run.name, run.status, 0, 1, None)
            for i, run in zip(ids, made, strict=True)
        ],
        columns=[
            "run_id",
            "experiment_id",
            "suite",
            "name",
            "status",
            "start_time",
            "end_time",
            "artifact_uri",
        ],
    )

    def long(part: str) -> pd.DataFrame:
        rows = [
            (i, key, value)
            for i, run in zip(ids, made, strict=True)
            for key, value in _part(run, part).items()
        ]
        return pd.DataFrame(rows, columns=["run_id", "key", "value"])

    histories = [
        (i, key, step, value)
        for i, run in zip(ids, made, strict=True)
        for key, values in run.histories.items()
        if key in HISTORIES
        for step, value in enumerate(values, start=1)
    ]
    return Tables(
        base,
        long("tags"),
        long("params"),
        long("metrics"),
        pd.DataFrame(histories, columns=["run_id", "key", "step", "value"]),
    )


def frames(made: Iterable[Run]) -> Runs:
    """These runs as the report sees them."""
    return tidy(tables(made))


def _part(run: Run, part: str) -> dict[str, Any]:
    if part == "tags":
        return {f"kdbench.{key}": value for key, value in run.tags.items()}
    if part == "params":
        return {key: str(value) for key, value in run.params.items()}
    return run.metrics | {key: values[-1] for key, values in run.histories.items() if values}


def write(made: Iterable[Run], folder: Path, plan: Mapping[str, Any] | None = None) -> str:
    """Write the runs into a new SQLite store in `folder` with MLflow's client; returns its URI."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiments: dict[str, str] = {}
    now = int(time.time() * 1000)
    for run in made:
        suite = run.tags["suite"]
        if suite not in experiments:
            experiments[suite] = client.create_experiment(suite, artifact_location=str(folder / "artifacts"))
        tags = {f"kdbench.{key}": value for key, value in run.tags.items()}
        made_run = client.create_run(experiments[suite], run_name=run.name, tags=tags)
        metrics = [Metric(key, value, now, 0) for key, value in run.metrics.items()]
        metrics += [
            Metric(key, value, now, step)
            for key, values in run.histories.items()
            for step, value in enumerate(values, start=1)
        ]
        params = [Param(key, str(value)) for key, value in run.params.items()]
        client.log_batch(
            made_run.info.run_id, metrics=metrics, params=params, tags=[RunTag("made", SYNTHETIC)]
        )
        if run.kind == "launch" and plan is not None:
            client.log_dict(made_run.info.run_id, dict(plan), "plan.json")
            client.log_dict(made_run.info.run_id, ENVIRONMENT, "environment.json")
        if run.status != "RUNNING":
            client.set_terminated(made_run.info.run_id, run.status)
    return uri


def new_database(folder: Path) -> Path:
    """A database with MLflow's tables and nothing in them."""
    from mlflow import MlflowClient

    path = folder / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


def insert(made: Iterable[Run], empty: Path, folder: Path, plans: Mapping[str, Any] | None = None) -> str:
    """Put the runs into a copy of an empty database in `folder`; returns its URI. `plans` are by suite."""
    made = list(made)
    path = folder / "mlflow.db"
    shutil.copy(empty, path)
    suites = {
        suite: str(100 + index)
        for index, suite in enumerate(dict.fromkeys(run.tags["suite"] for run in made))
    }
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        for suite, number in suites.items():
            _add(
                base,
                "experiments",
                experiment_id=number,
                name=suite,
                lifecycle_stage="active",
                workspace="default",
            )
        for index, run in enumerate(made):
            key = f"{index:032x}"
            artifacts = folder / "artifacts" / key
            _add(
                base,
                "runs",
                run_uuid=key,
                experiment_id=suites[run.tags["suite"]],
                name=run.name,
                status=run.status,
                start_time=NOW,
                end_time=None if run.status == "RUNNING" else NOW + 1000,
                lifecycle_stage="active",
                artifact_uri=str(artifacts),
            )
            _add_values(base, key, run)
            if run.kind == "launch" and plans and run.tags["suite"] in plans:
                artifacts.mkdir(parents=True)
                (artifacts / "plan.json").write_text(json.dumps(plans[run.tags["suite"]]))
                (artifacts / "environment.json").write_text(json.dumps(ENVIRONMENT))
    return f"sqlite:///{path}"


def _add(base: sqlite3.Connection, table: str, **values: Any) -> None:
    marks = ", ".join("?" * len(values))
    base.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


def _add_values(base: sqlite3.Connection, key: str, run: Run) -> None:
    texts = [("tags", _part(run, "tags")), ("params", _part(run, "params"))]
    for table, values in texts:
        rows = [(name, value, key) for name, value in values.items()]
        base.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    points = [(name, value, 0) for name, value in run.metrics.items()]
    points += [
        (name, value, step)
        for name, values in run.histories.items()
        for step, value in enumerate(values, start=1)
    ]
    rows = [(name, *_stored(value), NOW, step, key) for name, value, step in points]
    sql = "INSERT INTO {} (key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
    base.executemany(sql.format("metrics"), rows)
    latest = {row[0]: row for row in sorted(rows, key=lambda row: row[4])}
    base.executemany(sql.format("latest_metrics"), list(latest.values()))


def _stored(value: float) -> tuple[float, bool]:
    """A value as MLflow's database has it, and whether it is NaN."""
    largest = 1.7976931348623157e308
    return (0.0, True) if math.isnan(value) else (min(max(value, -largest), largest), False)


def plan(setting: Setting, **suite: Any) -> dict[str, Any]:
    """The plan.json of a setting."""
    space = {
        "lr": {"kind": "float", "low": 1e-3, "high": 0.5, "scale": "log", "choices": []},
        "weight_decay": {"kind": "float", "low": 1e-5, "high": 5e-3, "scale": "log", "choices": []},
        "temperature": {"kind": "float", "low": 1.0, "high": 20.0, "scale": "log", "choices": []},
        "alpha": {"kind": "float", "low": 0.0, "high": 1.0, "scale": "linear", "choices": []},
    }
    cells = [(pair, method) for pair in setting.pairs for method in setting.methods]
    return {
        "suite": {
            "name": setting.suite,
            "search": {
                "trials": setting.trials,
                "sampler": "tpe",
                "scheduler": "asha",
                "grace_epochs": 1,
                "reduction_factor": 3,
            },
            "training": {"epochs": setting.epochs, "updates": "equal"},
            "pairs": [],
            **suite,
        },
        "facts": {"name": setting.dataset, "note": ""},
        "studies": [
            {
                "key": "",
                "label": method,
                "pair": pair,
                "fraction": 1.0,
                "trials": setting.trials,
                "space": space,
            }
            for pair, method in cells
        ],
        "finals": [
            {"label": method, "pair": pair, "fraction": fraction, "index": index}
            for pair, method in cells
            for fraction in setting.fractions
            for index in range(setting.seeds)
        ],
    }


def replace(run: Run, metrics: Mapping[str, float] | None = None, **tags: str) -> Run:
    """A copy of the run with these tags and metrics laid over its own."""
    return dataclasses.replace(run, tags=run.tags | tags, metrics=run.metrics | dict(metrics or {}))
