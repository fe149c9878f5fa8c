"""Small plans on the digits, and what a launch tells while it runs."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdbench import data
from kdbench import plan as planning
from kdbench import suite as suites
from kdbench.data.spec import DatasetSpec
from kdbench.plan import Plan


@pytest.fixture(scope="session")
def digits() -> tuple[Any, Any]:
    """Facts and training labels of the digits."""
    spec = DatasetSpec("digits")
    return data.facts(spec), data.load_training(spec).labels


@pytest.fixture
def make_plan(tmp_path: Path, digits: tuple[Any, Any]) -> Callable[..., Plan]:
    """A function from suite keys to the plan of a tiny suite."""

    def make(**keys: Any) -> Plan:
        suite = {
            "name": "tiny",
            "dataset": "digits",
            "pairs": [{"teacher": "resnet14", "student": "resnet8w4"}],
            "methods": ["original", "hinton"],
            "training": {"epochs": 9},
            "search": {"trials": 4, "grace_epochs": 1},
            "final": {"seeds": 2},
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**suite, **keys}))
        facts, labels = digits
        return planning.make_plan(suites.load(str(path)), facts, labels, "cpu")

    return make


@pytest.fixture(scope="session")
def fake_path() -> str:
    """`PYTHONPATH` under which other processes find `fake_training`."""
    here = str(Path(__file__).parent)
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))


@dataclass
class Told:
    """A Progress and a Tracker that remember what they were told."""

    notes: list[str] = field(default_factory=list)
    started_: list[Any] = field(default_factory=list)
    epochs: list[tuple[Any, Any]] = field(default_factory=list)
    ended_: list[tuple[Any, Any]] = field(default_factory=list)
    reconciled: list[tuple[Any, Any]] = field(default_factory=list)
    studies: list[tuple[Any, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    bests: dict[tuple[str, str], float] = field(default_factory=dict)
    last: Any = None

    def note(self, message):
        self.notes.append(message)

    def started(self, run):
        self.started_.append(run)

    def opened(self, run, record):
        assert record.state == "running"

    def epoch(self, run, epoch):
        self.epochs.append((run, epoch))

    def ended(self, run, record, student=None):
        self.ended_.append((run, record))

    def counts(self, counts):
        self.last = counts

    def best(self, label, pair, accuracy):
        self.bests[label, pair] = accuracy

    def reconcile(self, runs):
        self.reconciled = list(runs)

    def study_ended(self, study, best):
        self.studies.append((study, best))

    def launch_metrics(self, values):
        self.metrics.update(values)


@pytest.fixture
def told() -> Told:
    return Told()
