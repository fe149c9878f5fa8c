"""Runs -> leaderboards: one per (dataset, protocol, pair, fraction), one row per method label."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdbench.report import statistics
from kdbench.report.frames import groups
from kdbench.report.plans import Cell, Plans
from kdbench.report.read import Runs, numbers_of

# The columns of leaderboard.csv, in order. Accuracies in [0, 1]; NaN = not available.
COLUMNS = (
    "dataset protocol pair fraction method config"
    " n test_accuracy_mean test_accuracy_ci_low test_accuracy_ci_high"
    " gain_original gain_original_ci_low gain_original_ci_high"
    " gain_hinton gain_hinton_ci_low gain_hinton_ci_high"
    " probability_of_improvement default_test_accuracy_mean rank p_adjusted"
    " trials trials_failed failure_rate device_seconds updates test_peek commit"
).split()
BASELINES = ("original", "hinton")
MINIMUM = 3  # seeds on either side of a test
ALPHA = 0.05
TUNED, DEFAULT = ("tuned", "tuned,default"), ("default", "tuned,default")
ENDED = ("complete", "pruned", "diverged", "failed")
TEST, AUDIT = "test/accuracy", "audit/test_accuracy"

Sample = NDArray[np.float64]


class Key(NamedTuple):
    """What a leaderboard is of."""

    dataset: str
    protocol: str
    pair: str
    fraction: float


@dataclass(frozen=True)
class Leaderboard:
    """One comparison under equal conditions."""

    key: Key
    protocol_label: str  # what differs from the default protocol, in words
    dataset_hash: str
    table: pd.DataFrame  # COLUMNS and EXTRA, sorted
    samples: Mapping[str, Sample]  # method -> test accuracies, one per seed
    leading: tuple[str, ...]  # statistics.leading_group of the tested rows

    @property
    def tested(self) -> pd.DataFrame:
        """The rows that may be tested and may lead: all planned finals are there, and enough of them."""
        return self.table[self.table["tested"]]


# What the page needs of a row besides: where it comes from, what was planned, whether it may be tested.
EXTRA = (
    *("suite", "label", "planned", "planned_trials", "tested", "partial", "finals_failed"),
    *("runs", "default_runs", "study", "devices"),
)


def leaderboards(runs: Runs, plans: Plans) -> list[Leaderboard]:
    """All leaderboards, by dataset, pair, protocol and falling fraction."""
    work = runs.runs[runs.runs["kind"].isin(("trial", "final"))]
    trials = dict(groups(work[work["kind"] == "trial"], Cell))
    peeks = test_peek(runs.epochs)
    boards = [_leaderboard(key, group, trials, plans, peeks) for key, group in groups(work, Key)]
    return sorted(
        boards, key=lambda board: (board.key.dataset, board.key.pair, board.key.protocol, -board.key.fraction)
    )


def test_peek(epochs: pd.DataFrame) -> pd.Series:
    """By run: what picking the epoch on test data would have added (best epoch - last epoch)."""
    audit = epochs[epochs["metric"] == AUDIT].sort_values("epoch").set_index("run_id")["value"]
    last = audit[~audit.index.duplicated(keep="last")]
    return audit.groupby(level=0).max() - last


def _leaderboard(
    key: Key, group: pd.DataFrame, trials: Mapping[Cell, pd.DataFrame], plans: Plans, peeks: pd.Series
) -> Leaderboard:
    finals = group[group["kind"] == "final"]
    cells = _cells(key, group, plans)
    tuned = finals[finals["config"].isin(TUNED)]
    most = int(tuned.groupby(["suite", "method"])["key"].nunique().max()) if len(tuned) else 0
    rows = []
    for cell, label in _labels(cells, tuned).items():
        own = finals[(finals["suite"] == cell.suite) & (finals["method"] == cell.method)]
        rows.append(_row(key, cell, label, own, trials, plans, peeks, most))
    samples = {row["method"]: row.pop("sample") for row in rows}
    for row in rows:
        _compare(row, rows, samples)
    tests = {row["method"]: row.pop("p") for row in rows}
    adjusted = statistics.holm(tests)
    table = pd.DataFrame(rows, columns=[*COLUMNS, *EXTRA])
    table["p_adjusted"] = table["method"].map(adjusted)
    table["rank"] = table["test_accuracy_mean"].rank(method="min", ascending=False)
    table = table.sort_values(
        ["test_accuracy_mean", "method"], ascending=[False, True], na_position="last", ignore_index=True
    )
    tested = {name: samples[name] for name in table.loc[table["tested"], "method"]}
    leading = tuple(statistics.leading_group(tested, ALPHA, MINIMUM))
    first = group.iloc[0]
    return Leaderboard(key, first["protocol_label"], first["dataset_hash"], table, samples, leading)


def _cells(key: Key, group: pd.DataFrame, plans: Plans) -> list[Cell]:
    """The methods of a leaderboard: those with runs in it, and those planned for it that have none."""
    found = {
        Cell(suite, method, key.pair, key.fraction)
        for suite, method in zip(group["suite"], group["method"], strict=True)
    }
    suites = {cell.suite for cell in found}
    planned = {cell for cell in plans.finals if cell.suite in suites and cell[2:] == (key.pair, key.fraction)}
    return sorted(found | planned)


def _labels(cells: list[Cell], tuned: pd.DataFrame) -> dict[Cell, str]:
    """Row names: the label, with the suite behind it where two suites have different finals under it."""
    keys = tuned.groupby(["suite", "method"])["key"].agg(frozenset).to_dict()
    kept: dict[tuple[str, frozenset[str]], Cell] = {}
    for cell in cells:
        kept.setdefault((cell.method, keys.get((cell.suite, cell.method), frozenset())), cell)
    count = Counter(cell.method for cell in kept.values())
    return {
        cell: cell.method if count[cell.method] == 1 else f"{cell.method} ({cell.suite})"
        for cell in kept.values()
    }


def _row(
    key: Key,
    cell: Cell,
    label: str,
    finals: pd.DataFrame,
    trials: Mapping[Cell, pd.DataFrame],
    plans: Plans,
    peeks: pd.Series,
    most: int,
) -> dict[str, Any]:
    tuned = finals[finals["config"].isin(TUNED)].drop_duplicates("key")
    default = finals[finals["config"].isin(DEFAULT)].drop_duplicates("key")
    counted = tuned[np.isfinite(numbers_of(tuned, TEST))]
    sample = numbers_of(counted, TEST).to_numpy()
    study = study_of(cell, tuned, trials)
    asked = trials.get(study, finals.iloc[:0]).drop_duplicates("key")
    ended = asked[asked["state"].isin(ENDED)]
    failed = int(ended["state"].isin(("diverged", "failed")).sum())
    planned, planned_trials = plans.finals.get(cell, most), plans.trials.get(study)
    low, high = statistics.mean_interval(sample)
    running = bool((asked["state"] == "running").any() or (tuned["state"] == "running").any())
    return {
        **key._asdict(),
        "method": label,
        "config": "" if tuned.empty else tuned["config"].iloc[0],
        "n": len(sample),
        "test_accuracy_mean": statistics.mean(sample),
        "test_accuracy_ci_low": low,
        "test_accuracy_ci_high": high,
        "default_test_accuracy_mean": numbers_of(default, TEST).mean(),
        "trials": len(ended),
        "trials_failed": failed,
        "failure_rate": failed / len(ended) if len(ended) else nan,
        "device_seconds": float(device_seconds(pd.concat([ended, tuned])).sum(min_count=1)),
        "updates": numbers_of(tuned, "time/updates").mean(),
        "test_peek": peeks.reindex(counted["run_id"]).mean(),
        "commit": " ".join(sorted({*ended["commit"], *tuned["commit"]} - {""})),
        "suite": cell.suite,
        "label": cell.method,
        "planned": planned,
        "planned_trials": planned_trials if planned_trials is not None else nan,
        "tested": MINIMUM <= len(sample) and len(sample) >= planned,
        "partial": running or (planned_trials is not None and len(ended) < planned_trials),
        "finals_failed": int(tuned["state"].isin(("diverged", "failed")).sum()),
        "runs": list(counted["run_id"]),
        "default_runs": list(default["run_id"]),
        "study": study,
        "devices": devices(tuned["device"]),
        "sample": sample,
    }


def study_of(cell: Cell, tuned: pd.DataFrame, trials: Mapping[Cell, pd.DataFrame]) -> Cell:
    """The search behind a row: what its finals say, else the nearest searched fraction (ties: the larger)."""
    said = tuned["search_fraction"].dropna()
    if len(said):
        return cell._replace(fraction=float(said.iloc[0]))
    searched = [other.fraction for other in trials if other[:3] == cell[:3]]
    nearest = min(
        searched, key=lambda fraction: (abs(fraction - cell.fraction), -fraction), default=cell.fraction
    )
    return cell._replace(fraction=nearest)


def _compare(row: dict[str, Any], rows: list[dict[str, Any]], samples: Mapping[str, Sample]) -> None:
    """Fill a row's gains over the baselines, its probability of improvement and its raw p-value."""
    row["p"] = row["probability_of_improvement"] = nan
    for name in BASELINES:
        column = f"gain_{name}"
        row[column] = row[f"{column}_ci_low"] = row[f"{column}_ci_high"] = nan
        baseline = _baseline(name, row, rows)
        if baseline is None or not row["n"] or not baseline["n"]:
            continue
        if baseline is row:
            row[column] = 0.0
            continue
        test = statistics.welch(samples[row["method"]], samples[baseline["method"]])
        row[column], (row[f"{column}_ci_low"], row[f"{column}_ci_high"]) = test.difference, test.interval
        if name == BASELINES[0]:
            row["probability_of_improvement"] = statistics.probability_of_improvement(
                samples[row["method"]], samples[baseline["method"]]
            )
            row["p"] = test.p if row["tested"] and baseline["tested"] else nan


def _baseline(name: str, row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The baseline a row is measured against: the only one, else its own suite's."""
    found = [other for other in rows if other["label"] == name]
    own = [other for other in found if other["suite"] == row["suite"]]
    return found[0] if len(found) == 1 else own[0] if own else None


def devices(names: Iterable[str]) -> list[str]:
    """The devices that runs name; a run that is under way or was stopped may say `cpu` of `cpu, 1 thread`."""
    found = sorted(set(names) - {""})
    return [name for name in found if not any(other.startswith(f"{name}, ") for other in found)]


def device_seconds(runs: pd.DataFrame) -> pd.Series:
    """Device time of each run: seconds of training x the share of the device it held; NaN where unknown."""
    return numbers_of(runs, "time/train_s") * runs["slot"].fillna(1.0)
