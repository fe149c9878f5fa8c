"""runs.parquet: all of a report, and the report again."""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import report_store as rs
from typer.testing import CliRunner

from kdbench import report
from kdbench.cli.app import app
from kdbench.errors import UserError
from kdbench.report import archive, plans, read
from kdbench.report.links import Links

SMALL = rs.Setting(methods=("original", "byot"), trials=3, epochs=3, extras=True)


def written(made, out: Path, planned: plans.Plans | None = None) -> tuple[read.Runs, Path]:
    runs = rs.frames(made)
    known = archive.Archive(("synthetic",), runs, planned or plans.Plans(), Links("http://host:5000"))
    return runs, archive.write(known, out)


def test_the_file_holds_every_run(tmp_path: Path) -> None:
    made = rs.runs(SMALL)
    made[2].params["note"] = "a word"
    runs, path = written(made, tmp_path)
    table = pd.read_parquet(path)
    assert len(table) == len(made) == len(runs.runs) + 1, "the launch run too"
    trainings = table[table["kind"] != "launch"]
    assert trainings["params.lr"].notna().all() and "a word" in set(table["params.note"])
    final = table[table["kind"] == "final"].iloc[0]
    assert len(final["history.audit/test_accuracy"]) == 3
    assert final["history.audit/test_accuracy"][-1] == final["test/accuracy"]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    made = rs.runs(SMALL)
    made[1] = rs.replace(made[1], {"val/loss": math.nan, "train/loss": math.inf})
    made[1].params |= {"stage": 3, "note": "a word"}
    made[2].histories["val/accuracy"][-1] = math.nan
    cell = plans.Cell("synthetic", "byot", SMALL.pairs[0], 1.0)
    planned = plans.Plans(
        {cell: 3}, {cell: 3}, {cell: {"lr": {"low": 1e-5}}}, {"synthetic": {"search": {"trials": 3}}}, ("n",)
    )
    runs, path = written(made, tmp_path, planned)
    known = archive.read(path)
    assert (known.suites, known.plans, known.links) == (("synthetic",), planned, Links("http://host:5000"))
    assert known.runs.left_out == runs.left_out
    order = ["run_id", "metric", "epoch"]
    for before, after, by in (
        (runs.runs, known.runs.runs, ["run_id"]),
        (runs.launches, known.runs.launches, ["run_id"]),
        (runs.epochs, known.runs.epochs, order),
    ):
        expected = before.drop(columns="artifact_uri", errors="ignore").sort_values(by, ignore_index=True)
        found = after.sort_values(by, ignore_index=True)[list(expected)]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert isinstance(next(p["stage"] for p in known.runs.runs["params"] if "stage" in p), int)


def test_an_epoch_that_was_not_logged_stays_a_gap(tmp_path: Path) -> None:
    made = rs.runs(SMALL)
    runs = rs.frames(made)
    first = runs.epochs["run_id"].iloc[0]
    gap = runs.epochs[~((runs.epochs["run_id"] == first) & (runs.epochs["epoch"] == 2))]
    path = archive.write(
        archive.Archive(("s",), dataclasses.replace(runs, epochs=gap), plans.Plans(), Links(None)), tmp_path
    )
    epochs = archive.read(path).runs.epochs
    own = epochs[(epochs["run_id"] == first) & (epochs["metric"] == "val/accuracy")]
    assert own["epoch"].tolist() == [1, 2, 3] and own["value"].isna().tolist() == [False, True, False]


def test_a_report_is_made_again_from_its_runs(store, tmp_path: Path) -> None:
    plan = rs.plan(SMALL, storage="sqlite:////somewhere/private", tracking="http://me:secret@host")
    uri = store(rs.runs(SMALL), {"synthetic": plan})
    first = report.make(["synthetic"], uri=uri, out=tmp_path / "first").parent
    second = report.remake(first / "runs.parquet", out=tmp_path / "second").parent
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert len(files) > 20
    assert files == sorted(path.relative_to(second) for path in second.rglob("*.*"))
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    page = (first / "index.html").read_text()
    report.remake(first / "runs.parquet", out=first, files=False)
    assert not list(first.glob("figures/*")), "those of the earlier report are gone"
    again = (first / "index.html").read_text()
    assert again != page and "figures/" not in again and again.count("<figure") == page.count("<figure")
    data = (first / "runs.parquet").read_bytes() + str(
        pq.read_schema(first / "runs.parquet").metadata
    ).encode()
    for private in (b"secret", b"private", str(tmp_path).encode()):
        assert private not in data, "what only the machine knows stays there"


@pytest.mark.parametrize("content", [None, b"no parquet", "another table"])
def test_a_file_that_no_report_has_written(content, tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    if content == "another table":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(
        UserError, match="--runs: given .*runs.parquet'; allowed: a runs.parquet that a report"
    ):
        report.remake(path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_makes_a_report_of_a_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(rs.runs(dataclasses.replace(SMALL, methods=("original",), trials=1)), tmp_path)
    ended = CliRunner().invoke(app, ["report", "--runs", "runs.parquet", "--no-figures"])
    assert ended.exit_code == 0, ended.stderr
    assert (tmp_path / "reports" / "synthetic" / "index.html").exists()
    assert not (tmp_path / "reports" / "synthetic" / "figures").exists()
    both = CliRunner().invoke(app, ["report", "a", "--runs", "runs.parquet", "--tracking-uri", "http://x"])
    assert both.exit_code == 2 and both.stderr.count("nothing beside --runs") == 2
    neither = CliRunner().invoke(app, ["report"])
    assert neither.exit_code == 2 and "--runs FILE" in neither.stderr
