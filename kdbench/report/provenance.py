"""Where the numbers come from: suites, budgets, machines, versions, totals."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from kdbench.report.frames import records
from kdbench.report.leaderboard import device_seconds
from kdbench.report.material import Material
from kdbench.report.read import TRAININGS
from kdbench.report.views import Cell, Table, duration, key

HEAD = (
    ("Suite", "= MLflow experiment"),
    ("Runs", "in its current plan"),
    ("Budget", "per method and searched fraction"),
    ("Device", "of these runs"),
    ("Device time", "every training once, also where suites or pairs share it"),
    ("Data set", "with the first digits of its content's hash"),
    ("Commits", "of kdbench"),
    ("Versions", "where the last launch ran"),
)


def table(material: Material) -> Table:
    """One row per suite."""
    trainings = material.runs.runs[material.runs.runs["kind"].isin(TRAININGS)]
    rows = [_row(str(suite), runs, material) for suite, runs in trainings.groupby("suite")]
    return Table("provenance", "Where it comes from", HEAD, rows)


def _row(suite: str, runs: pd.DataFrame, material: Material) -> list[Cell]:
    once = runs.drop_duplicates("key")
    seconds, teachers = device_seconds(once), once["kind"] == "teacher"
    spent = seconds[~teachers].sum(min_count=1)
    kinds = ", ".join(f"{count} {kind}s" for kind, count in runs["kind"].value_counts().items())
    hashes = runs.loc[runs["dataset_hash"] != "", ["dataset", "dataset_hash"]].drop_duplicates()
    content = ", ".join(f"{row['dataset']} {row['dataset_hash'][:12]}" for row in records(hashes))
    note = f"teachers {duration(seconds[teachers].sum(min_count=1))}" if teachers.any() else ""
    return [
        Cell(suite, suite, title=f"experiment {material.experiments[suite]}"),
        Cell(kinds, kinds),
        _text(_budget(material.plans.suites.get(suite, {}))),
        _text(_names(runs["device"])),
        Cell(duration(spent), key(spent), note=note),
        _text(content),
        _text(_names(runs["commit"])),
        _text(_versions(material.plans.environment.get(suite, {}))),
    ]


def _text(text: str) -> Cell:
    return Cell(text or "–", text or "–")


def _names(values: pd.Series) -> str:
    return ", ".join(sorted(set(values) - {""}))


def _budget(suite: Mapping[str, Any]) -> str:
    if not suite:
        return ""
    search, training = suite.get("search", {}), suite.get("training", {})
    return (
        f"{search.get('trials')} trials ({search.get('sampler')}, {search.get('scheduler')}),"
        f" {training.get('epochs')} epochs ({training.get('updates')} updates at every fraction)"
    ).replace("scaled updates at every fraction", "updates scaled with the fraction")


def _versions(environment: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment.items())


def totals(material: Material) -> list[tuple[str, str]]:
    """The size of it all: label and number."""
    runs, boards = material.runs, material.boards
    trials = runs.of("trial")
    states = trials["state"].value_counts()
    once = runs.runs[runs.runs["kind"].isin(TRAININGS)].drop_duplicates("key")
    failed = states.get("diverged", 0) + states.get("failed", 0)
    return [
        ("methods", str(len({name for board in boards for name in board.table["label"]}))),
        ("pairs", str(len({(board.key.dataset, board.key.pair) for board in boards}))),
        ("trials", str(len(trials))),
        ("of them pruned, failed", f"{states.get('pruned', 0)}, {failed}"),
        ("final runs", str(len(runs.of("final")))),
        ("device time", duration(device_seconds(once).sum(min_count=1))),
    ]
