"""A small real plan, records as the driver writes them, and what they look like in MLflow."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench import data, models, plan
from kdbench.home import Home
from kdbench.plan import Plan, Run, Study
from kdbench.records import Epoch, Record
from kdbench.suite import load
from kdbench.tracking import Tracker
from kdbench.training.job import job_key
from kdbench.training.saved import save_network

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

SUITE = """\
name: small
dataset: digits
pairs: [{teacher: resnet14, student: resnet8w4}]
teacher: {epochs: 2}
training: {epochs: 3}
methods: [original, hinton]
fractions: [1.0, 0.5]
search: {trials: 2, grace_epochs: 1}
final: {seeds: 2}
"""
STARTED = 1_700_000_000.0


def make_plan(folder: Path, text: str = SUITE, *sets: str) -> Plan:
    path = folder / "small.yaml"
    path.write_text(text)
    suite = load(str(path), sets)
    labels = data.load_training(suite.dataset).labels
    return plan.make_plan(suite, data.facts(suite.dataset), labels.tolist(), "cpu")


@pytest.fixture
def small(tmp_path: Path) -> Plan:
    return make_plan(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.launch("small").mkdir(parents=True)
    return found


@pytest.fixture
def track(home: Home) -> Callable[..., Tracker]:
    """Start trackers over one SQLite store; the last one is closed at the end, where the test did not."""

    def start(of: Plan, uri: str = "", **arguments: Any) -> Tracker:
        uri = uri or home.mlflow_uri
        return Tracker(
            of, uri=uri, home=home, launch_folder=home.launch(of.suite.name), interval=0.05, **arguments
        )

    return start


def epochs(count: int, accuracy: float = 0.9) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(
            epoch=number,
            stage="distil",
            rung=float(number),
            metrics={
                "val/accuracy": accuracy * number / count,
                "val/loss": 1.0 / number,
                "train/loss": 2.0 / number,
                "train/hard": 1.5 / number,
            },
        )
        for number in range(1, count + 1)
    )


def trial(of: Plan, study: Study, number: int) -> tuple[Run, Record]:
    """A trial as it is asked for."""
    sampled = {name: study.default[name] for name in study.space} | {"lr": 0.01 * (number + 1)}
    run = plan.trial_run(of, study, number, sampled)
    record = Record(
        key=run.key,
        kind="trial",
        state="running",
        method=study.label,
        hyperparameters={**study.default, **sampled},
        seed=run.seed,
        study=study.key,
        number=number,
        sampled=sampled,
        job=dataclasses.asdict(plan.trial_job(of, study, number, sampled)),
        device="cpu",
        commit="abc123",
        started=STARTED + number,
    )
    return run, record


def tuned(of: Plan, study: Study) -> list[tuple[Run, Record]]:
    """The tuned finals of a study as they are asked for, at every fraction."""
    found = []
    for slot in of.finals:
        if (slot.study, slot.pair) != (study.key, study.pair):
            continue
        values = {**study.default, "lr": 0.01}
        job = plan.final_job(of, slot, values)
        run = plan.tuned_run(of, slot, job_key(job, of.device), "tuned")
        record = Record(
            key=run.key,
            kind="final",
            state="running",
            method=study.label,
            hyperparameters=values,
            seed=run.seed,
            job=dataclasses.asdict(job),
            device="cpu",
            started=STARTED + 10,
        )
        found.append((run, record))
    return found


def done(record: Record, accuracy: float = 0.9, **changes: Any) -> Record:
    """The record at its end."""
    test = {"test/accuracy": accuracy - 0.01, "eval/parameters": 1234.0} if record.kind == "final" else {}
    values: dict[str, Any] = {
        "state": "complete",
        "history": epochs(3, accuracy),
        "test": test,
        "time": {"time/train_s": 1.5, "time/updates": 30.0, "time/teacher_gradients": 0.0},
        "ended": record.started + 2,
    }
    return dataclasses.replace(record, **{**values, **changes})


def make_student(home: Home, of: Plan, run: Run, record: Record) -> Path:
    """Weights as a final run leaves them."""
    model = models.build(
        str(record.job["model"]), shape=of.facts.shape, classes=len(of.facts.classes), seed=run.seed
    )
    job = plan.final_job(
        of, next(slot for slot in of.finals if slot.study == run.study), record.hyperparameters
    )
    return save_network(model, home.students, run.key, job, of.facts)
