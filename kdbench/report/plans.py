"""What launches planned, from `plan.json` and `environment.json` beside their MLflow runs.

Runs say what happened; only the plan says what should have: how many finals and trials, over which ranges.
Where a
plan cannot be reached (an artifact store that is away), the runs' own majority stands in and the page says
so.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import pandas as pd

from kdbench.report.frames import records

PLAN, ENVIRONMENT = "plan.json", "environment.json"


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
    spaces: Mapping[Cell, Mapping[str, Any]] = field(
        default_factory=dict
    )  # searched ranges (fields of Domain)
    suites: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the suites as written, by name
    notes: tuple[str, ...] = ()  # what must be said of the data and the teachers
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # versions, by suite
    missing: tuple[str, ...] = ()  # suites without a readable plan

    def unbiased(self, suite: str) -> bool:
        """Whether the suite's trials were independent draws that all ran to the end."""
        search = self.suites.get(suite, {}).get("search", {})
        return bool(search.get("sampler") == "random" and search.get("scheduler") == "none")


def read(launches: pd.DataFrame, suites: list[str], uri: str, launch: Path | None = None) -> Plans:
    """The plans of `suites`: beside their newest launch runs, else in the folder `launch`."""
    plans, environment = {}, {}
    for suite in suites:
        found = launches[launches["suite"] == suite].sort_values("start_time")
        sources = [_artifact_folder(row["run_id"], row["artifact_uri"], uri) for row in records(found[::-1])]
        plans[suite] = _first([*sources, launch], PLAN)
        environment[suite] = _first(sources, ENVIRONMENT) or {}
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
        {suite: plan.get("suite", {}) for suite, plan in known.items()},
        tuple(dict.fromkeys(note for plan in known.values() for note in _notes(plan))),
        environment,
        tuple(suite for suite in suites if suite not in known),
    )


def _artifact_folder(run: str, artifacts: str | None, uri: str) -> Path | None:
    """The run's artifacts as a local folder: as they lie, or fetched (the two files only)."""
    parsed = urlparse(artifacts or "")
    if parsed.scheme in ("", "file"):
        return Path(unquote(parsed.path)) if artifacts else None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client, folder = MlflowClient(tracking_uri=uri), Path(tempfile.mkdtemp(prefix="kdbench-report-"))
    try:
        for file in client.list_artifacts(run):
            if file.path in (PLAN, ENVIRONMENT):
                client.download_artifacts(run, file.path, str(folder))
    except (MlflowException, OSError):
        return None
    return folder


def _first(folders: list[Path | None], name: str) -> dict[str, Any] | None:
    for folder in folders:
        if folder and (folder / name).is_file():
            value = json.loads((folder / name).read_text())
            return value if isinstance(value, dict) else None
    return None


def _notes(plan: Mapping[str, Any]) -> Iterator[str]:
    facts = plan.get("facts", {})
    if facts.get("note"):
        yield f"{facts.get('name', 'the data set')}: {facts['note']}"
    for pair in plan.get("suite", {}).get("pairs", []):
        teacher = pair.get("teacher", {})
        if isinstance(teacher, Mapping) and teacher.get("weights"):
            yield (
                f"The teacher {teacher.get('name') or teacher.get('model')} was imported: it may have been"
                " trained on"
                " the images that are validation images here."
            )
