"""The reports in the repository are what their data make, and are small enough to be there."""

import csv
from pathlib import Path

import pytest

from kdbench import report

FOLDER = Path(__file__).resolve().parents[2] / "reports" / "published"
PUBLISHED = sorted(path.parent for path in FOLDER.glob("*/index.html"))


def cells(folder: Path) -> list[list[float | str]]:
    def value(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    with (folder / "leaderboard.csv").open(newline="") as file:
        return [[value(text) for text in row] for row in csv.reader(file)]


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_report_is_made_of_its_data(folder: Path, tmp_path: Path) -> None:
    report.remake(folder / "runs.parquet", out=tmp_path, files=False)
    files = {path.relative_to(folder) for path in folder.rglob("*.*")}
    assert files == {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    # Other versions of NumPy or matplotlib may draw and round in another way.
    assert (folder / "leaderboard.md").read_text() == (tmp_path / "leaderboard.md").read_text()
    for ours, theirs in zip(cells(tmp_path), cells(folder), strict=True):
        assert ours == [pytest.approx(cell) if isinstance(cell, float) else cell for cell in theirs]


def test_published_reports_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*") if path.is_file()) < 8e6
