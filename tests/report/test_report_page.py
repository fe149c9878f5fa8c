"""Whole reports, of ordinary and of odd stores."""

import csv
import dataclasses
import html
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import report_store as rs

from kdbench import report
from kdbench.report import leaderboard, published

# One trial each: no figures of the search, which take most of the time.
SMALL = rs.Setting(methods=("original", "bss"), trials=1, epochs=3)
SEARCHED = dataclasses.replace(SMALL, trials=3)
ODD = r"<b>a_b|c&d%$x$\e#{}~^*`</b>"


@pytest.fixture
def make(store, tmp_path: Path):
    """A function that makes the report of runs and returns its folder and the page's text."""

    def build(made, plan=None, suites=("synthetic",), **options) -> tuple[Path, str]:
        uri = store(made, {suite: plan for suite in suites} if plan else None)
        page = report.make(list(suites), uri=uri, out=tmp_path / "report", **options)
        assert page == tmp_path / "report" / "index.html"
        return page.parent, page.read_text(encoding="utf-8")

    return build


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def text(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def only(made, method: str, kind: str):
    return [run for run in made if run.tags.get("method") == method and run.kind == kind]


PARTS = {
    *("leaderboard", "default-and-tuned", "accuracy-by-fraction", "gain-by-fraction", "learning", "expected"),
    *("best-so-far", "importance", "rank-agreement", "slice", "cost", "agreement", "exits"),
}


def test_a_report_has_all_its_parts(make) -> None:
    setting = rs.Setting(methods=("original", "byot"), fractions=(1.0, 0.2), trials=16, epochs=3, extras=True)
    folder, page = make(rs.runs(setting), rs.plan(setting))
    figures = sorted((folder / "figures").glob("*.svg"))
    assert {path.name.split("-digits")[0].split("-synthetic")[0] for path in figures} >= PARTS
    for path in figures:
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert f'id="figure-{path.stem}"' in page
    assert (folder / "leaderboard.md").exists() and (folder / "leaderboard.tex").exists()
    assert (folder / "runs.parquet").exists() and (folder / "configs" / "byot.yaml").exists()
    assert len(rows(folder)) == 4
    # Self-contained: nothing is loaded from anywhere.
    assert not re.search(r'(src|href)="(https?:)?//', page) and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "0123abc" in page and rs.HASH[:12] in page and "torch 2.13.0" in page
    assert "Descriptive" in text(page) and "unbiased" not in text(page)


def test_equal_runs_make_an_equal_report(store, tmp_path: Path) -> None:
    uri = store(rs.runs(SMALL))
    first, second = (report.make(["synthetic"], uri=uri, out=tmp_path / name) for name in "ab")
    for path in first.parent.rglob("*.*"):
        assert path.read_bytes() == (second.parent / path.relative_to(first.parent)).read_bytes(), path


def test_an_earlier_report_is_replaced(store, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for methods in (("original", "bss"), ("original", "rkd")):
        report.make(["synthetic"], uri=store(rs.runs(dataclasses.replace(SMALL, methods=methods))), out=out)
    assert sorted(path.name for path in (out / "configs").iterdir()) == ["original.yaml", "rkd.yaml"]


def test_random_search_without_stopping_is_called_unbiased(make) -> None:
    plan = rs.plan(SEARCHED, search={"trials": 3, "sampler": "random", "scheduler": "none"})
    _, page = make(rs.runs(SEARCHED), plan)
    assert "An unbiased estimate" in text(page)


def test_one_seed(make) -> None:
    folder, page = make(rs.runs(dataclasses.replace(SMALL, seeds=1)))
    assert all(
        row["n"] == "1" and row["test_accuracy_ci_low"] == row["p_adjusted"] == "" for row in rows(folder)
    )
    assert all(row["test_accuracy_mean"] for row in rows(folder))
    assert "none leads" in text(page) and "not tested: 1" in text(page)


def test_one_method(make) -> None:
    folder, page = make(rs.runs(dataclasses.replace(SMALL, methods=("bss",))))
    assert len(rows(folder)) == 1 and rows(folder)[0]["gain_original"] == ""
    assert "there is no other to test it against" in text(page)


def test_all_trials_of_a_method_failed(make) -> None:
    made = rs.runs(SEARCHED)
    for run in only(made, "bss", "trial"):
        made[made.index(run)] = dataclasses.replace(
            rs.replace(run, state="failed", reason="oom"), histories={}, status="FAILED"
        )
    for run in only(made, "bss", "final"):
        made[made.index(run)] = dataclasses.replace(
            rs.replace(run, state="failed", reason="no-trial"), metrics={}, histories={}, status="FAILED"
        )
    folder, page = make(made)
    row = next(row for row in rows(folder) if row["method"] == "bss")
    assert (row["n"], row["test_accuracy_mean"], row["rank"]) == ("0", "", "")
    assert (row["trials"], row["trials_failed"], row["failure_rate"]) == ("3", "3", "1.0")
    assert rows(folder)[-1] == row, "a row without results is the last"
    assert "no complete trial" in text(page) and "bss 3/3" in text(page)
    assert not (folder / "configs" / "bss.yaml").exists()


def test_a_study_still_running_is_partial(make) -> None:
    made = rs.runs(SEARCHED)
    last = only(made, "bss", "trial")[-1]
    made[made.index(last)] = dataclasses.replace(rs.replace(last, state="running"), status="RUNNING")
    made = [run for run in made if not (run.kind == "final" and run.tags["method"] == "bss")]
    folder, page = make(made, rs.plan(SEARCHED))
    row = next(row for row in rows(folder) if row["method"] == "bss")
    assert (row["n"], row["trials"]) == ("0", "2")
    assert "Partial: the search or the final runs of bss" in text(page) and "2/3 (partial)" in text(page)
    assert "bss (0/3)" in text(page)


def test_only_trials_so_far(make) -> None:
    folder, page = make([run for run in rs.runs(SMALL) if run.kind != "final"])
    assert [row["n"] for row in rows(folder)] == ["0", "0"]
    assert "No final run has a result yet" in text(page)


def test_an_experiment_without_runs(make) -> None:
    folder, page = make(rs.runs(SMALL)[:1])
    assert rows(folder) == []
    assert "there is nothing to compare" in text(page)
    assert (folder / "leaderboard.tex").exists() and (folder / "runs.parquet").exists()


def test_metrics_that_are_no_numbers(make) -> None:
    made = rs.runs(dataclasses.replace(SMALL, extras=True))
    for run in only(made, "bss", "final")[:1]:
        odd = {"test/accuracy": math.nan, "eval/ece": math.inf, "time/train_s": math.nan}
        made[made.index(run)] = dataclasses.replace(
            rs.replace(run, odd, state="diverged", reason="nan"),
            histories={name: [math.nan] * 3 for name in run.histories},
        )
    for run in only(made, "original", "trial")[:1]:
        made[made.index(run)] = dataclasses.replace(run, histories={"val/accuracy": [math.nan] * 3})
    folder, page = make(made)
    row = next(row for row in rows(folder) if row["method"] == "bss")
    assert row["n"] == "2" and row["p_adjusted"] == "" and 0 < float(row["test_accuracy_mean"]) < 1
    assert "bss (2/3)" in text(page) and ">nan" not in page and "inf %" not in page


def test_equal_scores(make) -> None:
    made = [
        dataclasses.replace(
            rs.replace(run, {"test/accuracy": 0.5}),
            histories={name: [0.5] * len(values) for name, values in run.histories.items()},
        )
        if run.kind in ("trial", "final")
        else run
        for run in rs.runs(SMALL)
    ]
    folder, page = make(made)
    assert [(row["rank"], row["p_adjusted"], row["gain_original"]) for row in rows(folder)] == [
        ("1", "", "0.0")
    ] * 2
    assert [row["method"] for row in rows(folder)] == ["bss", "original"]
    assert "the leading group is all of them" in text(page)


def test_forty_methods(make) -> None:
    methods = ("original", *(f"method-{index:02}" for index in range(39)))
    folder, page = make(rs.runs(dataclasses.replace(SMALL, methods=methods, fractions=(1.0, 0.2), trials=2)))
    assert len(rows(folder)) == 80
    assert "further methods; the table has them all" in text(page)
    marks = re.findall(r'<svg class="swatch".*?</svg>', page)
    assert len(set(marks)) == 40, "no two methods are drawn alike"


def test_odd_characters_stay_text(make) -> None:
    folder, page = make(rs.runs(dataclasses.replace(SMALL, methods=("original", ODD), trials=11)))
    assert "<b>a_b" not in page
    assert page.count(html.escape(ODD, quote=False)) + page.count(html.escape(ODD)) > 3
    assert {row["method"] for row in rows(folder)} == {"original", ODD}
    assert all(re.fullmatch(r"[\w.+=-]+", path.stem) for path in (folder / "configs").iterdir())
    drawn = next((folder / "figures").glob("leaderboard-*.svg")).read_text()
    assert html.escape(ODD, quote=False) in drawn, "drawn as it stands, not as mathematics"


def test_numbers_link_to_runs(make) -> None:
    _, page = make(rs.runs(SMALL))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets and targets <= set(re.findall(r'\bid="([^"]+)"', page))
    _, page = make(rs.runs(SMALL), ui="http://127.0.0.1:5000")
    assert 'href="http://127.0.0.1:5000/#/compare-runs?runs=' in page


def test_published_numbers_stand_beside_ours(make) -> None:
    setting = dataclasses.replace(SMALL, dataset="mnist", pairs=("mlp-1200x2->mlp-800x2",))
    _, page = make(rs.runs(setting))
    assert "Published numbers beside ours" in text(page) and "98.54" in text(page)


def test_published_numbers_are_of_the_same_setting() -> None:
    def sources(
        pair: str, words: str = "default", dataset: str = "mnist", fraction: float = 1.0
    ) -> list[str]:
        key = leaderboard.Key(dataset, "", pair, fraction)
        board = leaderboard.Leaderboard(key, words, "", pd.DataFrame(), {}, ())
        return [entry["accuracy"] for entry in published.beside(board)]

    pair = "mlp-1200x2->mlp-800x2"
    assert sources(pair) == [{"original": 98.54, "hinton": 99.26}]
    assert sources(pair, "omit classes 3 · epochs 10") == [{"hinton": 97.94}]
    assert (
        sources(pair, "omit classes 4")
        == sources(pair, fraction=0.5)
        == sources(pair, dataset="digits")
        == []
    )
    assert sources("resnet50->resnet18", dataset="cifar100") == [{"original": 77.09, "byot": 78.64}]


def test_five_blocks_are_ranked(make) -> None:
    pairs = tuple(f"t{i}->s{i}" for i in range(5))
    folder, page = make(rs.runs(dataclasses.replace(SMALL, methods=("original", "bss", "rkd"), pairs=pairs)))
    assert (folder / "figures" / "critical-difference.svg").exists()
    assert (folder / "figures" / "overall-gain.svg").exists()
    assert "Friedman over 5 blocks and 3 methods" in text(page)
