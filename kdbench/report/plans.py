"""What launches planned, from `plan.json` and `environment.json` beside their MLflow runs.

Runs say what happened; only the plan says what should have: how many finals and trials, over which ranges.
Where a plan cannot be reached (an artifact store that is away), the method with the most runs stands in for
it and the page says so.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import pandas as pd

from kdbench.report.frames import records

PLAN, ENVIRONMENT = "plan.json", "environment.json"
PARTS = ("search", "training", "methods")  # of a suite; what else it says may be of one machine only
VERSIONS = ("kdbench", "python", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")


class Cell(NamedTuple):
    """One method on one pair at one fraction of one suite."""

    suite: str
    method: str  # the label
    pair: str
    fraction: float


@dataclass(frozen=True)
class Plans:
    """The plans of all suites in the report, together. Empty mappings where no plan could be read."""

    finals: Mapping[Cell, int] = field(default_factory=dict)  # tuned finals planned
    trials: Mapping[Cell, int] = field(default_factory=dict)  # trials planned, by searched fraction
    spaces: Mapping[Cell, Mapping[str, Any]] = field(default_factory=dict)  # of Domain's fields
    suites: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # PARTS of the suites, by name
    notes: tuple[str, ...] = ()  # what must be said of the data and the teachers
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # VERSIONS, by suite
    missing: tuple[str, ...] = ()  # suites without a readable plan

    def method(self, suite: str, label: str) -> str:
        """The method behind a label; the label itself where no plan says so."""
        entries = self.suites.get(suite, {}).get("methods", ())
        return next((str(entry["method"]) for entry in entries if entry["as"] == label), label)

    def unbiased(self, suite: str) -> bool:
        """Whether the suite's trials were independent draws that all ran to the end."""
        search = self.suites.get(suite, {}).get("search", {})
        return bool(search.get("sampler") == "random" and search.get("scheduler") == "none")


def read(launches: pd.DataFrame, suites: list[str], uri: str, launch: Path | None = None) -> Plans:
    """The plans of `suites`: beside their newest launch runs, else in the folder `launch`."""
    plans, environment = {}, {}
    for suite in suites:
        found = launches[launches["suite"] == suite].sort_values("start_time", ascending=False)
        files = [_artifacts(row["run_id"], row["artifact_uri"], uri) for row in records(found)]
        files += [_files(launch)] if launch else []
        plans[suite] = next((file[PLAN] for file in files if PLAN in file), None)
        versions = next((file[ENVIRONMENT] for file in files if ENVIRONMENT in file), {})
        environment[suite] = _only(VERSIONS, {**versions.get("packages", {}), **versions})
    known = {suite: plan for suite, plan in plans.items() if plan}
    finals = Counter(
        Cell(suite, slot["label"], slot["pair"], float(slot["fraction"]))
        for suite, plan in known.items()
        for slot in plan.get("finals", [])
    )
    studies = {
        Cell(suite, study["label"], study["pair"], float(study["fraction"])): study
        for suite, plan in known.items()
        for study in plan.get("studies", [])
    }
    return Plans(
        finals,
        {cell: int(study["trials"]) for cell, study in studies.items()},
        {cell: study.get("space", {}) for cell, study in studies.items()},
        {suite: _only(PARTS, plan.get("suite", {})) for suite, plan in known.items()},
        tuple(dict.fromkeys(note for plan in known.values() for note in _notes(plan))),
        {
            suite: _only(VERSIONS, {**found.get("packages", {}), **found})
            for suite, found in environment.items()
        },
        tuple(suite for suite in suites if suite not in known),
    )


def _only(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _artifacts(run: str, artifacts: str | None, uri: str) -> dict[str, dict[str, Any]]:
    """The two files among a run's artifacts: as they lie on this machine, else fetched."""
    parsed = urlparse(artifacts or "")
    if parsed.scheme in ("", "file"):
        return _files(Path(unquote(parsed.path)))
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    with tempfile.TemporaryDirectory(prefix="kdbench-report-") as folder:
        try:
            for file in client.list_artifacts(run):
                if file.path in (PLAN, ENVIRONMENT):
                    client.download_artifacts(run, file.path, folder)
        except (MlflowException, OSError):
            return {}
        return _files(Path(folder))


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for name in (PLAN, ENVIRONMENT):
        try:
            value = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or cut off
            continue
        if isinstance(value, dict):
            found[name] = value
    return found


def _notes(plan: Mapping[str, Any]) -> Iterator[str]:
    facts = plan.get("facts", {})
    if facts.get("note"):
        yield f"{facts.get('name', 'the data set')}: {facts['note']}"
    for pair in plan.get("suite", {}).get("pairs", []):
        teacher = pair.get("teacher", {})
        if isinstance(teacher, Mapping) and teacher.get("weights"):
            name = teacher.get("name") or teacher.get("model")
            yield f"The teacher {name} was imported: it may have seen what are validation images here."
