import dataclasses
import math

import numpy as np
import pytest
import report_store as rs
from scipy import stats

from kdbench.report import curves, leaderboard, overall, plans, statistics, verdict
from kdbench.report.frames import records
from kdbench.report.material import Material

SETTING = rs.Setting(methods=("original", "hinton", "bss"), gains={"bss": 0.02}, spread=0.002)
UNPLANNED = plans.Plans()  # no plan could be read


def boards(made, planned=UNPLANNED) -> list[leaderboard.Leaderboard]:
    return leaderboard.leaderboards(rs.frames(made), planned)


def rows(board: leaderboard.Leaderboard) -> dict:
    return {row["method"]: row for row in records(board.table)}


def finals(made, method: str, config: str = "tuned") -> list[rs.Run]:
    return [run for run in made if run.tags.get("config") == config and run.tags["method"] == method]


def accuracies(made, method: str, config: str = "tuned") -> np.ndarray:
    return np.array([run.metrics["test/accuracy"] for run in finals(made, method, config)])


def test_every_column_by_hand() -> None:
    made = rs.runs(SETTING)
    (board,) = boards(made)
    assert list(board.table)[: len(leaderboard.COLUMNS)] == list(leaderboard.COLUMNS)
    row = rows(board)["bss"]
    bss, original, hinton = (accuracies(made, name) for name in ("bss", "original", "hinton"))
    assert (row["dataset"], row["pair"], row["fraction"]) == ("digits", "resnet14->resnet8w4", 1.0)
    assert (row["config"], row["n"], row["rank"]) == ("tuned", 3, 1)
    assert row["test_accuracy_mean"] == pytest.approx(bss.mean())
    half = stats.t.ppf(0.975, 2) * stats.sem(bss)
    assert row["test_accuracy_ci_low"] == pytest.approx(bss.mean() - half)
    assert row["test_accuracy_ci_high"] == pytest.approx(bss.mean() + half)
    for name, sample in (("original", original), ("hinton", hinton)):
        interval = stats.ttest_ind(bss, sample, equal_var=False).confidence_interval()
        assert row[f"gain_{name}"] == pytest.approx(bss.mean() - sample.mean())
        assert row[f"gain_{name}_ci_low"] == pytest.approx(interval.low)
        assert row[f"gain_{name}_ci_high"] == pytest.approx(interval.high)
    wins = np.sign(bss[:, None] - original) / 2 + 0.5
    assert row["probability_of_improvement"] == pytest.approx(wins.mean())
    assert row["default_test_accuracy_mean"] == pytest.approx(accuracies(made, "bss", "default").mean())
    p = {
        name: stats.ttest_ind(accuracies(made, name), original, equal_var=False).pvalue
        for name in ("bss", "hinton")
    }
    assert row["p_adjusted"] == pytest.approx(statistics.holm(p)["bss"])
    assert (row["trials"], row["trials_failed"], row["failure_rate"]) == (6, 0, 0)
    assert row["device_seconds"] == pytest.approx(6 * 2.0 + 3 * 3.0)
    assert row["updates"] == 120
    peeks = [
        max(run.histories["audit/test_accuracy"]) - run.histories["audit/test_accuracy"][-1]
        for run in finals(made, "bss")
    ]
    assert row["test_peek"] == pytest.approx(np.mean(peeks))
    assert row["commit"] == "0123abc"
    base = rows(board)["original"]
    assert base["gain_original"] == 0 and math.isnan(base["p_adjusted"])
    assert math.isnan(base["probability_of_improvement"])
    assert board.table["test_accuracy_mean"].is_monotonic_decreasing


def test_a_row_with_missing_finals_is_not_tested_and_cannot_lead() -> None:
    made = rs.runs(SETTING)
    made.remove(finals(made, "bss")[0])
    (board,) = boards(made)
    row = rows(board)["bss"]
    assert (row["n"], row["planned"], row["tested"], row["rank"]) == (2, 3, False, 1)
    assert math.isnan(row["p_adjusted"]) and not math.isnan(row["gain_original"])
    assert "bss" not in board.leading
    assert any("bss (2/3)" in words for words in verdict.warnings(board, plans.Plans()))
    assert "of the 2 methods that are complete" in verdict.verdict(board)


def test_the_plan_says_how_many_finals_there_should_be() -> None:
    planned = plans.Plans(
        finals={plans.Cell("synthetic", name, SETTING.pairs[0], 1.0): 5 for name in (*SETTING.methods, "rkd")}
    )
    (board,) = boards(rs.runs(SETTING), planned)
    assert board.leading == ()
    assert (rows(board)["bss"]["n"], rows(board)["bss"]["planned"]) == (3, 5)
    assert rows(board)["rkd"]["n"] == 0, "planned, but nothing has run: it has a row all the same"
    assert "none leads" in verdict.verdict(board)


def test_failed_and_diverged_trials_are_counted() -> None:
    made = [
        rs.replace(run, state="diverged" if run.tags["trial"] == "0" else "failed", reason="nan")
        if run.kind == "trial" and run.tags["method"] == "bss" and int(run.tags["trial"]) < 2
        else run
        for run in rs.runs(SETTING)
    ]
    (board,) = boards(made)
    row = rows(board)["bss"]
    assert (row["trials"], row["trials_failed"]) == (6, 2) and row["failure_rate"] == pytest.approx(2 / 6)
    assert any("bss 2/6" in words for words in verdict.warnings(board, plans.Plans()))


def test_equal_configurations_are_one_run_for_both() -> None:
    made = [run for run in rs.runs(SETTING) if run.tags.get("config") != "default"]
    made = [rs.replace(run, config="tuned,default") if run.kind == "final" else run for run in made]
    (board,) = boards(made)
    row = rows(board)["bss"]
    assert row["config"] == "tuned,default"
    words = " ".join(verdict.warnings(board, plans.Plans()))
    assert "nothing better than the default configuration of bss, hinton and original" in words
    assert row["default_test_accuracy_mean"] == pytest.approx(row["test_accuracy_mean"])


def test_leaderboards_are_apart_by_protocol_pair_and_fraction() -> None:
    setting = dataclasses.replace(SETTING, pairs=("a->b", "c->d"), fractions=(1.0, 0.2))
    other = [
        rs.replace(run, protocol="feedbeef", key=run.tags.get("key", "") + "x") for run in rs.runs(SETTING)
    ]
    found = boards([*rs.runs(setting), *other])
    keys = [(board.key.pair, board.key.fraction) for board in found]
    assert keys == [("a->b", 1.0), ("a->b", 0.2), ("c->d", 1.0), ("c->d", 0.2), (SETTING.pairs[0], 1.0)]
    assert [len(family) for family in curves.families(found)] == [2, 2, 1]
    assert [row["trials"] for row in records(found[1].table)] == [6, 6, 6], (
        "the study of the nearest fraction"
    )
    assert math.isnan(found[1].table["default_test_accuracy_mean"].iloc[0])


def test_several_suites_share_a_leaderboard() -> None:
    other = dataclasses.replace(SETTING, suite="other", methods=("original", "rkd"), generator_seed=9)
    made = [*rs.runs(SETTING), *rs.runs(other)]
    (board,) = boards(made)
    names = set(board.table["method"])
    assert names == {"bss", "hinton", "rkd", "original (synthetic)", "original (other)"}
    row = rows(board)["rkd"]
    theirs = [run.metrics["test/accuracy"] for run in rs.runs(other) if run.tags.get("config") == "tuned"]
    assert row["gain_original"] == pytest.approx(np.mean(theirs[3:]) - np.mean(theirs[:3]))
    # The same keys under two suites are the same runs: one row.
    same = [rs.replace(run, suite="copy") for run in rs.runs(SETTING)]
    (board,) = boards([*rs.runs(SETTING), *same])
    assert sorted(board.table["method"]) == ["bss", "hinton", "original"]
    assert rows(board)["bss"]["n"] == 3


def test_without_a_baseline_its_columns_are_empty() -> None:
    (board,) = boards(rs.runs(dataclasses.replace(SETTING, methods=("hinton", "bss"))))
    row = rows(board)["bss"]
    assert math.isnan(row["gain_original"]) and not math.isnan(row["gain_hinton"])
    assert "original is not among the methods" in verdict.verdict(board)


def test_two_seeds_have_intervals_but_no_test() -> None:
    (board,) = boards(rs.runs(dataclasses.replace(SETTING, seeds=2)))
    row = rows(board)["bss"]
    assert not math.isnan(row["gain_original_ci_low"]) and math.isnan(row["p_adjusted"])
    assert board.leading == ()
    assert any("Fewer than 3 seeds" in words for words in verdict.warnings(board, plans.Plans()))


def test_verdicts_say_what_the_tests_support() -> None:
    (board,) = boards(rs.runs(SETTING))
    words = verdict.verdict(board)
    assert words.startswith("bss has the highest mean test accuracy")
    assert "leads alone" in words and "bss is better than the tuned original" in words
    (equal,) = boards(rs.runs(dataclasses.replace(SETTING, gains={"bss": 0.0, "hinton": 0.0})))
    words = verdict.verdict(equal)
    assert "the leading group is all of them" in words and "no evidence of equality" in words
    made = rs.runs(SETTING)
    for run, value in zip(finals(made, "hinton"), accuracies(made, "bss"), strict=True):
        run.metrics["test/accuracy"] = float(value)
    words = verdict.verdict(boards(made)[0])
    assert words.startswith("bss and hinton share the highest mean test accuracy")
    assert "separate bss from hinton" in words
    assert verdict.listed([f"m{i}" for i in range(9)]) == "m0, m1, m2, m3, m4 and 4 more"


def test_unequal_conditions_are_warned_of() -> None:
    made = rs.runs(SETTING)
    made.remove(next(run for run in made if run.kind == "trial"))
    run = finals(made, "bss")[0]
    made[made.index(run)] = rs.replace(run, commit="fff-dirty", device="cuda")
    (board,) = boards(made)
    words = " ".join(verdict.warnings(board, plans.Plans(missing=("synthetic",))))
    for part in ("between 5 and 6 trials", "2 commits", "not committed", "cpu and cuda", "could not be read"):
        assert part in words


def test_a_device_named_in_short_is_no_other_device() -> None:
    assert leaderboard.devices(["cpu", "cpu, 1 thread", ""]) == ["cpu, 1 thread"]
    assert leaderboard.devices(["cpu, 2 threads", "cpu, 1 thread", "cuda"]) == [
        "cpu, 1 thread",
        "cpu, 2 threads",
        "cuda",
    ]


def test_curves_and_their_area() -> None:
    setting = dataclasses.replace(SETTING, fractions=(1.0, 0.5, 0.2))
    (found,) = [curves.curves(family) for family in curves.families(boards(rs.runs(setting)))]
    assert found is not None
    points = found.points[found.points["method"] == "bss"]
    assert points["fraction"].tolist() == [0.2, 0.5, 1.0]
    area = found.areas.set_index("method").loc["bss", "area"]
    assert area == pytest.approx(np.trapezoid(points["mean"], points["fraction"]) / 0.8)
    assert curves.curves(curves.families(boards(rs.runs(SETTING)))[0]) is None


def test_overall_ranking_needs_blocks() -> None:
    pairs = tuple(f"t{i}->s{i}" for i in range(5))
    five = boards(rs.runs(dataclasses.replace(SETTING, pairs=pairs)))
    found, test = overall.overall(five), overall.rank_test(five)
    assert found is not None and test is not None
    assert found.table["method"].tolist()[0] == "bss" and found.blocks == 5
    assert found.table["low"].iloc[0] < found.table["gain"].iloc[0] < found.table["high"].iloc[0]
    assert test.ranks["bss"] == 1.0
    assert overall.overall(five[:1]) is None and overall.rank_test(five[:4]) is None


def test_material_names_protocols_only_where_there_are_several() -> None:
    made = rs.runs(SETTING)
    material = Material(rs.frames(made), plans.Plans())
    assert material.title(material.boards[0]) == "digits · resnet14→resnet8w4"
    other = [rs.replace(run, protocol="feedbeef") for run in made]
    material = Material(rs.frames([*made, *other]), plans.Plans())
    assert "protocol feedbeef" in {material.title(board)[-17:] for board in material.boards}
