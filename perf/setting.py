"""What the measurements of the search share: a plan of trials, a tracker that tells nobody, a local Ray."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kdbench import data, plan, suite
from kdbench.plan import Plan, Run, Study
from kdbench.records import Epoch, Record
from kdbench.search import cluster


def made_plan(
    folder: Path,
    *,
    trials: int,
    epochs: int,
    methods: Iterable[str] = ("original",),
    scheduler: str = "none",
    sampler: str = "tpe",
) -> Plan:
    """A plan on the digits with so many trials per method and one final run each."""
    path = folder / "perf.yaml"
    keys = {
        "name": "perf",
        "dataset": "digits",
        "pairs": [{"teacher": "resnet14", "student": "resnet8w4"}],
        "methods": list(methods),
        "training": {"epochs": epochs},
        "search": {"trials": trials, "grace_epochs": 1, "scheduler": scheduler, "sampler": sampler},
        "final": {"seeds": 1, "defaults": False},
    }
    path.write_text(yaml.safe_dump(keys))
    wanted = suite.load(str(path))
    labels = data.load_training(wanted.dataset).labels.numpy()
    return plan.make_plan(wanted, data.facts(wanted.dataset), labels, "cpu")


class Nobody:
    """A Tracker that tells nobody: what MLflow costs is measured by perf/tracking.py."""

    def opened(self, run: Run, record: Record) -> None:
        """Tell nobody."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """Tell nobody."""

    def ended(self, run: Run, record: Record) -> None:
        """Tell nobody."""

    def reconcile(self, runs: Iterable[tuple[Run, Record]]) -> None:
        """Tell nobody."""

    def study_ended(self, study: Study, best: Record | None) -> None:
        """Tell nobody."""

    def launch_metrics(self, values: Mapping[str, float]) -> None:
        """Tell nobody."""


@contextmanager
def local_ray(slots: int) -> Iterator[Any]:
    """A Ray of this machine whose workers find perf/works.py."""
    cluster.prepare()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))
    )
    import ray

    ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()
