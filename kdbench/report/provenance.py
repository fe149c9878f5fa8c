"""Where the numbers come from: suites, budgets, machines, versions, totals."""

from collections.abc import Mapping
from math import inf, nan
from typing import Any

import pandas as pd

from kdbench.report.behind import launch_of
from kdbench.report.cells import Cell, Table, decimals, duration, key, missing, thousands
from kdbench.report.frames import records
from kdbench.report.leaderboard import device_seconds, devices
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.read import TRAININGS
from kdbench.report.tables import percent

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

LAUNCH_HEAD = (
    ("Suite", "= MLflow experiment"),
    ("Utilisation, %", "slot-seconds in use over those available, from the first work to the last"),
    ("Slot time", "in use, of what was available"),
    ("Restarts", "attempts that were lost or ran out of memory, and were made again"),
)
# Part of a metric's name -> what was decided, in words.
DECISIONS = {
    "suggest": ("Next trial", "asking the sampler and writing the record"),
    "report": ("Go on or stop", "asking the scheduler after an epoch"),
    "ended": ("Trial ended", "telling sampler and scheduler, and writing the record"),
}


def table(material: Material, links: Links) -> Table:
    """One row per suite."""
    trainings = material.runs.runs[material.runs.runs["kind"].isin(TRAININGS)]
    rows = [_row(str(suite), runs, material, links) for suite, runs in trainings.groupby("suite")]
    return Table("provenance", "Where it comes from", HEAD, rows)


def _row(suite: str, runs: pd.DataFrame, material: Material, links: Links) -> list[Cell]:
    once = runs.drop_duplicates("key")
    seconds, teachers = device_seconds(once), once["kind"] == "teacher"
    spent = seconds[~teachers].sum(min_count=1)
    kinds = ", ".join(
        f"{count} {kind}" + ("s" if count != 1 else "") for kind, count in runs["kind"].value_counts().items()
    )
    hashes = runs.loc[runs["dataset_hash"] != "", ["dataset", "dataset_hash"]].drop_duplicates()
    content = ", ".join(f"{row['dataset']} {row['dataset_hash'][:12]}" for row in records(hashes))
    note = f"teachers {duration(seconds[teachers].sum(min_count=1))}" if teachers.any() else ""
    page = launch_of(suite, material, links)
    return [
        Cell(suite, suite, page, title=f"experiment {material.experiments[suite]}"),
        Cell(kinds, kinds, page),
        _text(_budget(material.plans.suites.get(suite, {}))),
        _text("; ".join(devices(runs["device"]))),
        Cell(duration(spent), key(spent), page, note=note),
        _text(content),
        _text(_names(runs["commit"])),
        _text(_versions(material.plans.environment.get(suite, {}))),
    ]


def launches(material: Material, links: Links) -> Table | None:
    """How well each launch kept its slots busy, and what its decisions took; None where none has said so."""
    if "utilisation" not in material.runs.launches:
        return None
    told = material.runs.launches.dropna(subset="utilisation")
    rows = [_launch(row, launch_of(row["suite"], material, links)) for row in records(told)]
    head = [*LAUNCH_HEAD, *((words, f"{meaning}; mean time") for words, meaning in DECISIONS.values())]
    return Table("launches", "How the launches went", head, rows) if rows else None


def _launch(row: Mapping[str, Any], page: str) -> list[Cell]:
    value = {
        name: row.get(name, nan) for name in ("utilisation", "busy_slot_s", "available_slot_s", "restarts")
    }
    spent = f"{duration(value['busy_slot_s'])} of {duration(value['available_slot_s'])}"
    return [
        Cell(row["suite"], row["suite"], page),
        Cell(percent(value["utilisation"]), value["utilisation"], page),
        Cell(spent, key(value["busy_slot_s"]), page),
        Cell(decimals(value["restarts"], 0), key(value["restarts"]), page),
        *(_decision(row, name, page) for name in DECISIONS),
    ]


def _decision(row: Mapping[str, Any], name: str, page: str) -> Cell:
    mean, slowest, count = (row.get(f"decisions/{name}_{part}", nan) for part in ("ms", "ms_max", "count"))
    if missing(mean):
        return Cell("–", -inf)
    return Cell(f"{mean:.2f} ms", mean, page, note=f"{thousands(count)}, slowest {slowest:.1f} ms")


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
    counts = {
        "method": len({name for board in boards for name in board.table["label"]}),
        "pair": len({(board.key.dataset, board.key.pair) for board in boards}),
        "trial": len(trials),
        "final run": len(runs.of("final")),
    }
    return [
        *((name if count == 1 else f"{name}s", thousands(count)) for name, count in counts.items()),
        ("trials pruned, failed", f"{states.get('pruned', 0)}, {failed}"),
        ("device time", duration(device_seconds(once).sum(min_count=1))),
    ]
