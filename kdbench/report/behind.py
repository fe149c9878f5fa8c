"""The runs behind the numbers: where each number leads, and a list of runs for want of an MLflow page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

from kdbench.report import searches, tables
from kdbench.report.cells import Cell, key
from kdbench.report.frames import records
from kdbench.report.leaderboard import TEST, Leaderboard
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.plans import Cell as StudyCell
from kdbench.report.read import numbers_of


@dataclass(frozen=True)
class RunList:
    """The runs behind one row, where a link without an MLflow page leads."""

    id: str
    method: str
    board: str
    groups: Sequence[tuple[str, Sequence[Cell]]]  # what they are, the runs


def anchor(board: Leaderboard, index: int, material: Material) -> str:
    """The id of a leaderboard row in the list of runs."""
    number = next(place for place, other in enumerate(material.boards) if other is board)
    return f"b{number}-r{index}"


def finals(board: Leaderboard, material: Material, links: Links) -> dict[str, str]:
    """By method: where the numbers of its tuned final runs lead."""
    return {
        row["method"]: links.runs(material.experiments.get(row["suite"], ""), row["runs"])
        or f"#{anchor(board, index, material)}"
        for index, row in enumerate(records(board.table))
    }


def search_of(material: Material, links: Links) -> dict[StudyCell, str]:
    """By study: where what is said of its trials leads."""
    found: dict[StudyCell, str] = {}
    for board in material.boards:
        for index, row in enumerate(records(board.table)):
            run = material.study_run(row)
            page = links.run(material.experiments.get(row["suite"], ""), run) if run else None
            found.setdefault(row["study"], page or f"#{anchor(board, index, material)}")
    return found


def run_lists(boards: Sequence[Leaderboard], material: Material, links: Links) -> list[RunList]:
    """Every run behind every leaderboard row, with its test accuracy; of its search the best trial."""
    runs = material.runs.runs
    accuracy = dict(zip(runs["run_id"], numbers_of(runs, TEST), strict=True))
    best = {study.cell: searches.best(study) for study in material.studies}
    found = []
    for number, board in enumerate(boards):
        for index, row in enumerate(records(board.table)):
            experiment, study = material.experiments.get(row["suite"], ""), material.study_run(row)
            trial = best.get(row["study"])
            named = {
                "tuned": row["runs"],
                "default": row["default_runs"],
                "search": [study] if study else [],
                "its best trial": [] if trial is None else [trial["run_id"]],
            }
            groups = _groups(named, accuracy, experiment, links)
            found.append(RunList(f"b{number}-r{index}", row["method"], tables.heading(board), groups))
    return found + _launches(material, accuracy, links)


def _groups(
    named: Mapping[str, Sequence[str]], accuracy: Mapping[str, float], experiment: str, links: Links
) -> list[tuple[str, list[Cell]]]:
    def cell(run: str) -> Cell:
        value = accuracy.get(run, nan)
        return Cell(run, key(value), links.run(experiment, run), note=tables.percent(value))

    return [(words, [cell(run) for run in runs]) for words, runs in named.items() if runs]


def launch_of(suite: str, material: Material, links: Links) -> str:
    """Where what is said of a whole suite leads: its launch run."""
    launches = material.runs.launches
    runs = launches.loc[launches["suite"] == suite, "run_id"].tolist()
    return links.runs(material.experiments[suite], runs) or f"#launch-{material.suites.index(suite)}"


def _launches(material: Material, accuracy: Mapping[str, float], links: Links) -> list[RunList]:
    """The launch runs and the teachers, by suite."""
    found = []
    for number, suite in enumerate(material.suites):
        named = {
            words: runs.loc[runs["suite"] == suite, "run_id"].tolist()
            for words, runs in (("launch", material.runs.launches), ("teachers", material.runs.of("teacher")))
        }
        groups = _groups(named, accuracy, material.experiments[suite], links)
        found.append(RunList(f"launch-{number}", suite, "the whole suite", groups))
    return found
