"""What the page's template is given: plain values, every number already in words, with its sort key and its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pandas as pd

from kdbench.report import tables, verdict
from kdbench.report.leaderboard import Leaderboard
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.tables import missing


@dataclass(frozen=True)
class Cell:
    """One cell of a table on the page."""

    text: str
    sort: float | str = ""
    href: str | None = None
    title: str = ""
    note: str = ""  # a second, quieter line


@dataclass(frozen=True)
class Table:
    """A table on the page; the first column names its rows."""

    id: str
    caption: str
    head: Sequence[tuple[str, str]]  # (words, what they mean)
    rows: Sequence[Sequence[Cell]]
    swatches: bool = False  # the first column holds methods
    strong: Sequence[bool] = ()  # rows of the leading group


@dataclass(frozen=True)
class Board:
    """A leaderboard on the page."""

    id: str
    title: str
    facts: str
    verdict: str
    warnings: Sequence[str]
    table: Table
    published: Table | None = None


@dataclass(frozen=True)
class Runs:
    """The runs behind one row, for readers without an MLflow page."""

    id: str
    method: str
    board: str
    groups: Sequence[tuple[str, Sequence[Cell]]] = field(default_factory=list)


HEAD = (
    ("Method", "its label in the suite; a tuned configuration each"),
    ("Test accuracy, %", "mean over fresh seeds ± half the width of its 95 % Student t interval"),
    ("Gain over original", "difference of means in percentage points, with Welch's 95 % interval"),
    ("Gain over hinton", "difference of means in percentage points, with Welch's 95 % interval"),
    ("P(better)", "probability that a seed of the method beats a seed of original, ties one half"),
    ("p (Holm)", "two-sided Welch test against original, Holm's correction over this table"),
    ("Default, %", "the method's default configuration, not tuned, over as many seeds"),
    ("n", "final runs with a result; n/planned where some are missing"),
    ("Rank", "1 + methods with a higher mean"),
    ("Trials", "trials of the search that have ended; failed = diverged or failed"),
    ("Device time", "device-seconds of the row's trials and finals, teachers apart"),
    ("Updates", "gradient updates of all networks trained for one final run"),
    ("Peek", "what picking the best epoch on test data would have added, percentage points"),
    ("Commit", "of kdbench, of the row's final runs"),
)


def board_view(board: Leaderboard, material: Material, links: Links, number: int) -> Board:
    """A leaderboard in words."""
    rows = [
        _board_row(row, f"b{number}-r{index}", material, links)
        for index, row in enumerate(board.table.to_dict("records"))
    ]
    leading = [name in board.leading for name in board.table["method"]]
    title = f"{material.title(board)} · {board.key.fraction:.4g} of the training data"
    if board.key.fraction == 1:
        title = f"{material.title(board)} · all training data"
    words = board.protocol_label or "default"
    return Board(
        f"board-{number}",
        title,
        f"protocol {board.key.protocol} ({words}); n, budget, failures and commit in the table",
        verdict.verdict(board),
        list(verdict.warnings(board, material.plans)),
        Table(f"table-{number}", title, HEAD, rows, swatches=True, strong=leading),
        _published(board, material, number),
    )


def _board_row(row: dict[str, Any], anchor: str, material: Material, links: Links) -> list[Cell]:
    experiment = material.experiments.get(row["suite"], "")
    here = f"#{anchor}"
    finals = links.runs(experiment, row["runs"]) or here
    study = material.study_run(row)
    trials = (links.run(experiment, study) if study else None) or here
    default = links.runs(experiment, row["default_runs"]) or here
    mean = tables.interval(
        row["test_accuracy_mean"], row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
    )
    failed = f"{row['trials_failed']} failed" if row["trials_failed"] else ""
    planned = (
        ""
        if missing(row["planned_trials"]) or row["trials"] >= row["planned_trials"]
        else f"/{row['planned_trials']:.0f}"
    )
    p = row["p_adjusted"]
    return [
        Cell(row["method"], row["method"]),
        Cell(mean, _number(row["test_accuracy_mean"]), finals),
        Cell(tables.gain(row, "gain_original"), _number(row["gain_original"]), finals),
        Cell(tables.gain(row, "gain_hinton"), _number(row["gain_hinton"]), finals),
        Cell(
            _fixed(row["probability_of_improvement"], 2), _number(row["probability_of_improvement"]), finals
        ),
        Cell(tables.not_tested(row) if missing(p) else tables.p_value(p), inf if missing(p) else p, finals),
        Cell(
            tables.percent(row["default_test_accuracy_mean"]),
            _number(row["default_test_accuracy_mean"]),
            default,
        ),
        Cell(tables.seeds(row), row["n"], finals),
        Cell(_fixed(row["rank"], 0), inf if missing(row["rank"]) else row["rank"], finals),
        Cell(f"{row['trials']}{planned}", row["trials"], trials, note=failed),
        Cell(duration(row["device_seconds"]), _number(row["device_seconds"]), trials),
        Cell(_thousands(row["updates"]), _number(row["updates"]), finals),
        Cell(tables.percent(row["test_peek"]), _number(row["test_peek"]), finals),
        Cell(" ".join(commit[:12] for commit in row["commit"].split()) or "–", row["commit"]),
    ]


def runs_views(boards: Sequence[Leaderboard], material: Material, links: Links) -> list[Runs]:
    """Every run behind every leaderboard row, with its test accuracy."""
    accuracy = material.runs.runs.set_index("run_id")
    values = accuracy.get("test/accuracy", pd.Series(dtype=float))
    found = []
    for number, board in enumerate(boards):
        for index, row in enumerate(board.table.to_dict("records")):
            experiment = material.experiments.get(row["suite"], "")

            def cell(run: str, experiment: str = experiment) -> Cell:
                value = values.get(run)
                return Cell(
                    run, title="" if value is None else tables.percent(value), href=links.run(experiment, run)
                )

            study = material.study_run(row)
            groups = [
                ("tuned", row["runs"]),
                ("default", row["default_runs"]),
                ("search", [study] if study else []),
            ]
            found.append(
                Runs(
                    f"b{number}-r{index}",
                    row["method"],
                    tables.heading(board),
                    [(words, [cell(run) for run in ids]) for words, ids in groups if ids],
                )
            )
    return found


def _published(board: Leaderboard, material: Material, number: int) -> Table | None:
    rows = []
    ours = {row["method"]: row for row in board.table.to_dict("records")}
    for entry in material.published(board):
        for method, accuracy in entry["accuracy"].items():
            row = ours.get(method)
            mean = (
                tables.interval(
                    row["test_accuracy_mean"], row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
                )
                if row
                else "–"
            )
            cells = [
                Cell(method, method),
                Cell(mean, _number(row["test_accuracy_mean"]) if row else -inf),
                Cell(f"{accuracy:.2f}", accuracy, note="published"),
                Cell(entry["budget"], entry["budget"]),
                Cell(entry["source"], entry["source"]),
            ]
            rows.append(cells)
    if not rows:
        return None
    head = (
        ("Method", "as here"),
        ("Ours, %", "mean ± 95 % interval, the leaderboard's"),
        ("Published, %", "from the source; other code, other budget"),
        ("Published with", "the budget of the published number"),
        ("Source", "where it stands"),
    )
    return Table(f"published-{number}", "Published numbers beside ours", head, rows, swatches=True)


def duration(seconds: float) -> str:
    """Device time in a readable unit."""
    if missing(seconds):
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _number(value: Any) -> float:
    return -inf if missing(value) else float(value)


def _fixed(value: float, digits: int) -> str:
    return "–" if missing(value) else f"{value:.{digits}f}"


def _thousands(value: float) -> str:
    return "–" if missing(value) else f"{value:,.0f}".replace(",", "\u202f")
