"""A small real training: a fifth of the digits, a tiny network, methods that misbehave on purpose."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdbench import data, models
from kdbench.data import DatasetSpec, Facts, TrainingData
from kdbench.methods import contract
from kdbench.methods.contract import Method
from kdbench.training.job import Job, Split
from kdbench.training.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))  # for misbehaving.py, which several tests share

SPEC = DatasetSpec("digits")
SPLIT = Split(validation=0.2, seed=0, fraction=0.2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def facts() -> Facts:
    return data.facts(SPEC)


@pytest.fixture(scope="session")
def digits(facts: Facts) -> TrainingData:
    """229 training images, 287 validation images."""
    return data.make_training(SPEC, facts, SPLIT, "cpu")


@pytest.fixture
def make_job(facts: Facts) -> Callable[..., Job]:
    """A job of two updates an epoch; keyword arguments of Job, or of Recipe as `recipe=dict(…)`."""

    def make(recipe: dict[str, Any] | None = None, **fields: Any) -> Job:
        settings = {"epochs": 4, "updates": "scaled", "lr": 0.02, **(recipe or {})}
        usual = {
            "dataset": dataclasses.asdict(SPEC),
            "dataset_hash": facts.content_hash,
            "split": SPLIT,
            "model": "resnet8w2",
            "recipe": Recipe(**settings),
            "seed": 1,
        }
        return Job(**{**usual, **fields})

    return make


@pytest.fixture
def teacher(facts: Facts) -> nn.Module:
    """Untrained, which teaches as much as any about how training works."""
    return models.build("resnet8w4", shape=facts.shape, classes=10, seed=5)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Method]], str]:
    """Registers a method for one test and returns its label."""

    def register(cls: type[Method]) -> str:
        label = f"test-{cls.__name__.lower()}"
        cls.label, cls.source = label, "tests"
        monkeypatch.setitem(contract._registry, label, cls)
        return label

    return register
