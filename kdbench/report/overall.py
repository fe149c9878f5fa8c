"""Methods across (dataset, protocol, pair) blocks: gains pooled, ranks tested."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdbench import seeds
from kdbench.report import statistics
from kdbench.report.leaderboard import BASELINES, Leaderboard


@dataclass(frozen=True)
class Overall:
    """Gains over the baseline, pooled over blocks."""

    table: pd.DataFrame  # method, gain (interquartile mean), low, high, blocks; best first
    blocks: int


def common(boards: Sequence[Leaderboard]) -> list[str]:
    """Methods tested in every block, by name; [] below two blocks or without the baseline."""
    if len(boards) < 2:
        return []
    methods = set.intersection(*(set(board.tested["method"]) for board in boards))
    return sorted(methods) if BASELINES[0] in methods else []


def overall(boards: Sequence[Leaderboard]) -> Overall | None:
    """The interquartile mean of each method's gains with its interval; None where blocks share too little."""
    methods = common(boards)
    baseline = [board.samples[BASELINES[0]] for board in boards if methods]
    rows = []
    for method in methods:
        if method == BASELINES[0]:
            continue
        own = [board.samples[method] for board in boards]
        seed = seeds.derive(0, "report", "bootstrap", method)
        low, high = statistics.bootstrap_interquartile_gain(own, baseline, seed)
        gain = statistics.gain_interquartile_mean(own, baseline)
        rows.append({"method": method, "gain": gain, "low": low, "high": high, "blocks": len(boards)})
    if not rows:
        return None
    return Overall(
        pd.DataFrame(rows).sort_values(["gain", "method"], ascending=[False, True], ignore_index=True),
        len(boards),
    )


def rank_test(boards: Sequence[Leaderboard]) -> statistics.RankTest | None:
    """Friedman and Nemenyi over the blocks' means; None below five blocks or three common methods."""
    methods = common(boards)
    rows = [{name: float(board.samples[name].mean()) for name in methods} for board in boards]
    return statistics.friedman_nemenyi(pd.DataFrame(rows)) if methods else None
