"""Leaderboards as the template is given them: words, and the runs behind every number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from kdbench.report import behind, published, tables, verdict
from kdbench.report.cells import Cell, Table, decimals, duration, key, missing, thousands
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES, Leaderboard
from kdbench.report.links import Links
from kdbench.report.material import Material


@dataclass(frozen=True)
class Board:
    """A leaderboard on the page."""

    id: str
    board: Leaderboard
    title: str
    facts: str
    verdict: str
    warnings: Sequence[str]
    table: Table
    published: Table | None


HEAD = (
    ("Method", "its label in the suite; the configuration its own search found best"),
    ("Test accuracy, %", "mean over fresh seeds ± half the width of its 95 % Student t interval"),
    *(
        (f"Gain over {name}", "difference of means, percentage points, with Welch's own 95 % interval")
        for name in BASELINES
    ),
    ("P(better)", "probability that a seed of the method beats a seed of original, ties one half"),
    ("p (Holm)", "two-sided Welch test against original, Holm's correction over this table"),
    ("Default, %", "the method's default configuration, not tuned, over as many seeds"),
    ("n", "final runs with a result; n/planned where some are missing"),
    ("Rank", "1 + methods with a higher mean"),
    ("Trials", "trials of the search that have ended; failed = diverged or failed"),
    ("Device time", "of the row's trials and final runs; teachers apart"),
    ("Updates", "gradient updates of all networks trained for one final run"),
    ("Peek", "what picking the best epoch on test data would have added, percentage points"),
)


def board_view(board: Leaderboard, material: Material, links: Links) -> Board:
    """A leaderboard in words."""
    title = f"{material.title(board)} · {tables.share(board.key.fraction)}"
    body = [
        _board_row(row, behind.anchor(board, index, material), material, links)
        for index, row in enumerate(records(board.table))
    ]
    commits = sorted({commit for text in board.table["commit"] for commit in text.split()})
    number = behind.anchor(board, 0, material).partition("-")[0].removeprefix("b")
    leading = [name in board.leading for name in board.table["method"]]
    return Board(
        f"board-{number}",
        board,
        title,
        f"Protocol {board.key.protocol} ({board.protocol_label or 'default'}), content of the data set"
        f" {board.dataset_hash[:12]}, commit {', '.join(commits) or 'unknown'}. Shaded: the leading group.",
        verdict.verdict(board),
        list(verdict.warnings(board, material.plans)),
        Table(f"table-{number}", title, HEAD, body, swatches=True, strong=leading),
        _published(board, f"published-{number}", behind.finals(board, material, links)),
    )


def _board_row(row: dict[str, Any], place: str, material: Material, links: Links) -> list[Cell]:
    experiment = material.experiments.get(row["suite"], "")
    here, study = f"#{place}", material.study_run(row)
    tuned = links.runs(experiment, row["runs"]) or here
    default = links.runs(experiment, row["default_runs"]) or here
    trials = (links.run(experiment, study) if study else None) or here
    short = not missing(row["planned_trials"]) and row["trials"] < row["planned_trials"]
    asked = f"{row['trials']}/{row['planned_trials']:.0f}" if short else str(row["trials"])
    failed = f"{row['trials_failed']} failed" if row["trials_failed"] else ""

    def cell(text: str, column: str, href: str = tuned, last: float = -inf) -> Cell:
        return Cell(text, key(row[column], last), None if text == "–" else href)

    return [
        Cell(row["method"], row["method"]),
        cell(tables.accuracy(row), "test_accuracy_mean"),
        *(cell(tables.gain(row, name), f"gain_{name}") for name in BASELINES),
        cell(decimals(row["probability_of_improvement"]), "probability_of_improvement"),
        cell(tables.significance(row), "p_adjusted", last=inf),
        cell(tables.percent(row["default_test_accuracy_mean"]), "default_test_accuracy_mean", default),
        cell(tables.seeds(row), "n"),
        cell(decimals(row["rank"], 0), "rank", last=inf),
        Cell(asked, row["trials"], trials, note=failed),
        cell(duration(row["device_seconds"]), "device_seconds", trials),
        cell(thousands(row["updates"]), "updates"),
        cell(tables.percent(row["test_peek"]), "test_peek"),
    ]


def _published(board: Leaderboard, id_: str, hrefs: Mapping[str, str]) -> Table | None:
    ours = {row["label"]: row for row in records(board.table)}
    rows = [
        [
            Cell(method, method),
            Cell(
                tables.accuracy(ours[method]),
                key(ours[method]["test_accuracy_mean"]),
                hrefs[ours[method]["method"]],
            )
            if method in ours
            else Cell("–", -inf),
            Cell(f"{accuracy:.2f}", accuracy, note="published"),
            Cell(entry["budget"], entry["budget"]),
            Cell(entry["source"], entry["source"]),
        ]
        for entry in published.beside(board)
        for method, accuracy in entry["accuracy"].items()
    ]
    if not rows:
        return None
    head = (
        ("Method", "as it is called here"),
        ("Ours, %", "mean ± 95 % interval, as in the leaderboard"),
        ("Published, %", "from the source: other code, other budget"),
        ("Published with", "the budget and the choices behind the published number"),
        ("Source", "where it stands"),
    )
    return Table(id_, "Published numbers beside ours", head, rows, swatches=True)
