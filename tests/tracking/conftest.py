"""A small real plan, records as the driver writes them, stores that cost no waiting."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdbench import data, models, plan
from kdbench.home import Home
from kdbench.plan import Plan, Run, Study
from kdbench.records import Epoch, Record
from kdbench.suite import load
from kdbench.tracking import Tracker
from kdbench.tracking.writer import CLIENT_DEFAULTS
from kdbench.training.job import job_key
from kdbench.training.saved import save_network

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
Final = tuple[Run, Record]


class Make:
    """What a launch would leave behind, without training anything."""

    @staticmethod
    def plan(folder: Path, *sets: str, text: str = SUITE) -> Plan:
        """The plan of a suite on digits."""
        path = folder / "small.yaml"
        path.write_text(text)
        suite = load(str(path), sets)
        labels = data.load_training(suite.dataset).labels
        return plan.make_plan(suite, data.facts(suite.dataset), labels.tolist(), "cpu")

    @staticmethod
    def history(count: int, accuracy: float = 0.9) -> tuple[Epoch, ...]:
        """Epochs that end with this validation accuracy."""
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

    @staticmethod
    def trial(of: Plan, study: Study, number: int) -> tuple[Run, Record]:
        """A trial as it is asked for."""
        sampled = {name: study.default[name] for name in study.space} | {"lr": 0.01 * (number + 1)}
        run = plan.trial_run(of, study, number, sampled)
        job = plan.trial_job(of, study, number, sampled)
        record = _asked(run, study, {**study.default, **sampled}, job)
        return run, dataclasses.replace(record, study=study.key, number=number, sampled=sampled)

    @staticmethod
    def tuned(of: Plan, study: Study) -> list[Final]:
        """The tuned finals of a study as they are asked for, at every fraction."""
        found = []
        for slot in of.finals:
            if (slot.study, slot.pair) == (study.key, study.pair):
                values = {**study.default, "lr": 0.01}
                job = plan.final_job(of, slot, values)
                run = plan.tuned_run(of, slot, job_key(job, of.device), "tuned")
                found.append((run, _asked(run, study, values, job)))
        return found

    @staticmethod
    def defaults(of: Plan, study: Study) -> list[Final]:
        """The default finals of a study as they are asked for."""
        return [
            (run, _asked(run, study, study.default, job))
            for run, job in of.defaults
            if (run.study, run.pair) == (study.key, study.pair)
        ]

    @staticmethod
    def done(record: Record, accuracy: float = 0.9, **changes: Any) -> Record:
        """The record at its end."""
        test = {"test/accuracy": accuracy - 0.01, "eval/parameters": 1234.0}
        values: dict[str, Any] = {
            "state": "complete",
            "history": Make.history(3, accuracy),
            "test": test if record.kind == "final" else {},
            "time": {"time/train_s": 1.5, "time/updates": 30.0, "time/teacher_gradients": 0.0},
            "ended": record.started + 2,
        }
        return dataclasses.replace(record, **{**values, **changes})

    @staticmethod
    def student(home: Home, of: Plan, run: Run) -> Path:
        """Weights as a final run leaves them: a network that nobody trained."""
        slot = next(slot for slot in of.finals if slot.study == run.study)
        study = next(study for study in of.studies if study.key == run.study)
        job = plan.final_job(of, slot, study.default)
        model = models.build(job.model, shape=of.facts.shape, classes=len(of.facts.classes), seed=run.seed)
        return save_network(model, home.students, run.key, job, of.facts)


def _asked(run: Run, study: Study, values: Any, job: Any) -> Record:
    return Record(
        key=run.key,
        kind=run.kind,
        state="running",
        method=study.label,
        hyperparameters=values,
        seed=run.seed,
        job=dataclasses.asdict(job),
        device="cpu",
        commit="abc123",
        started=STARTED,
    )


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Make.plan(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="session", autouse=True)
def client_defaults() -> Iterator[None]:
    """What the writer process sets for itself."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CLIENT_DEFAULTS.items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with MLflow's tables, made once: that takes it seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Home:
    """A state directory with an empty store."""
    found = Home(tmp_path / "home")
    found.launch("small").mkdir(parents=True)
    shutil.copyfile(empty_store, found.root / "mlflow.db")
    return found


@pytest.fixture
def track(home: Home) -> Callable[..., Tracker]:
    """Start a tracker on the store in `home`, or on another one."""

    def start(of: Plan, uri: str = "", interval: float = 0.05) -> Tracker:
        folder = home.launch(of.suite.name)
        folder.mkdir(parents=True, exist_ok=True)
        return Tracker(of, uri=uri or home.mlflow_uri, home=home, launch_folder=folder, interval=interval)

    return start
