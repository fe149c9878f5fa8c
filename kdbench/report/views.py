"""What the template is given: every number in words, with its sort key and the runs behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from kdbench.report import published, tables, verdict
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES, TEST, Leaderboard
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.read import numbers_of
from kdbench.report.tables import missing


@dataclass(frozen=True)
class Cell:
    """One cell of a table on the page."""

    text: str
    sort: float | str = ""  # a text cell sorts, and is aligned, as text
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
    board: Leaderboard
    title: str
    facts: str
    verdict: str
    warnings: Sequence[str]
    table: Table
    published: Table | None


@dataclass(frozen=True)
class RunList:
    """The runs behind one row, where a link without an MLflow page leads."""

    id: str
    method: str
    board: str
    groups: Sequence[tuple[str, Sequence[Cell]]]  # what they are, the runs


HEAD = (
    ("Method", "its label in the suite; the configuration its own search found best"),
    ("Test accuracy, %", "mean over fresh seeds ± half the width of its 95 % Student t interval"),
    *(
        (f"Gain over {name}", "difference of means in percentage points with Welch's 95 % interval")
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
    ("Commit", "of kdbench, of the row's final runs"),
)


def board_view(board: Leaderboard, material: Material, links: Links, number: int) -> Board:
    """A leaderboard in words."""
    title = f"{material.title(board)} · {tables.share(board.key.fraction)}"
    body = [
        _board_row(row, f"b{number}-r{index}", material, links)
        for index, row in enumerate(records(board.table))
    ]
    leading = [name in board.leading for name in board.table["method"]]
    return Board(
        f"board-{number}",
        board,
        title,
        f"Protocol {board.key.protocol} ({board.protocol_label or 'default'}), content of the data set"
        f" {board.dataset_hash[:12]}. Shaded: the leading group.",
        verdict.verdict(board),
        list(verdict.warnings(board, material.plans)),
        Table(f"table-{number}", title, HEAD, body, swatches=True, strong=leading),
        _published(board, number),
    )


def _board_row(row: dict[str, Any], anchor: str, material: Material, links: Links) -> list[Cell]:
    experiment = material.experiments.get(row["suite"], "")
    here, study = f"#{anchor}", material.study_run(row)
    finals = links.runs(experiment, row["runs"]) or here
    default = links.runs(experiment, row["default_runs"]) or here
    trials = (links.run(experiment, study) if study else None) or here
    short = not missing(row["planned_trials"]) and row["trials"] < row["planned_trials"]
    asked = f"{row['trials']}/{row['planned_trials']:.0f}" if short else str(row["trials"])
    failed = f"{row['trials_failed']} failed" if row["trials_failed"] else ""

    def cell(text: str, column: str, href: str = finals, last: float = -inf) -> Cell:
        return Cell(text, key(row[column], last), href)

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
        Cell(
            " ".join(commit[:8] for commit in row["commit"].split()) or "–",
            row["commit"],
            title=row["commit"],
        ),
    ]


def run_lists(boards: Sequence[Leaderboard], material: Material, links: Links) -> list[RunList]:
    """Every run behind every leaderboard row, with its test accuracy."""
    accuracy = numbers_of(material.runs.runs, TEST).set_axis(material.runs.runs["run_id"]).to_dict()
    found = []
    for number, board in enumerate(boards):
        for index, row in enumerate(records(board.table)):
            experiment, study = material.experiments.get(row["suite"], ""), material.study_run(row)
            named = {"tuned": row["runs"], "default": row["default_runs"], "search": [study] if study else []}
            groups = [
                (
                    words,
                    [
                        Cell(
                            run, accuracy[run], links.run(experiment, run), note=tables.percent(accuracy[run])
                        )
                        for run in runs
                    ],
                )
                for words, runs in named.items()
                if runs
            ]
            found.append(RunList(f"b{number}-r{index}", row["method"], tables.heading(board), groups))
    return found


def _published(board: Leaderboard, number: int) -> Table | None:
    ours = {row["label"]: row for row in records(board.table)}
    rows = [
        [
            Cell(method, method),
            Cell(tables.accuracy(ours[method]), key(ours[method]["test_accuracy_mean"]))
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
    return Table(f"published-{number}", "Published numbers beside ours", head, rows, swatches=True)


def duration(seconds: float) -> str:
    """Device time in a readable unit."""
    if missing(seconds):
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def key(value: Any, last: float = -inf) -> float:
    """A sort key; cells without a value come last (or first, as `last` says)."""
    return last if missing(value) else float(value)


def decimals(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None or missing(value) else f"{value:.{digits}f}"


def thousands(value: float) -> str:
    """A count with thin spaces, or a dash."""
    return "–" if missing(value) else f"{value:,.0f}".replace(",", "\u202f")
