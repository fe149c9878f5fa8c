"""Generalisation curves: accuracy and gain against the share of training data, pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from kdbench.report import statistics
from kdbench.report.leaderboard import Leaderboard

Family = tuple[Leaderboard, ...]
GAIN = "gain_original"


@dataclass(frozen=True)
class Curves:
    """One pair's curves over the training data's fraction."""

    family: Family
    points: pd.DataFrame  # method, label, fraction, n, mean, low, high, gain, gain_low, gain_high
    areas: pd.DataFrame  # method, area, gain_area (over the fractions that all its rows have), fractions


def families(boards: Sequence[Leaderboard]) -> list[Family]:
    """Leaderboards that differ only in the fraction, largest fraction first.

    A protocol's hash may differ between fractions (a teacher trained on the fraction): then equal words
    make a family, unless that put two leaderboards of one fraction into it.
    """

    def words(board: Leaderboard) -> tuple[str, str, str]:
        return board.key.dataset, board.key.pair, board.protocol_label

    def protocol(board: Leaderboard) -> tuple[str, str, str]:
        return board.key.dataset, board.key.pair, board.key.protocol

    found: list[Family] = []
    for _, group in groupby(sorted(boards, key=words), words):
        members = list(group)
        fractions = [board.key.fraction for board in members]
        if len(set(fractions)) == len(fractions):
            found.append(_ordered(members))
        else:
            members.sort(key=protocol)
            found += [_ordered(list(part)) for _, part in groupby(members, protocol)]
    return found


def _ordered(members: list[Leaderboard]) -> Family:
    return tuple(sorted(members, key=lambda board: -board.key.fraction))


def curves(family: Family) -> Curves | None:
    """The family's curves; None for fewer than two fractions with results."""
    columns = {
        "method": "method",
        "label": "label",
        "fraction": "fraction",
        "n": "n",
        "test_accuracy_mean": "mean",
        "test_accuracy_ci_low": "low",
        "test_accuracy_ci_high": "high",
        GAIN: "gain",
        f"{GAIN}_ci_low": "gain_low",
        f"{GAIN}_ci_high": "gain_high",
    }
    points = pd.concat([board.table for board in family])[list(columns)].rename(columns=columns)
    points = points.dropna(subset="mean").sort_values(["method", "fraction"], ignore_index=True)
    if points["fraction"].nunique() < 2:
        return None
    areas = [
        {
            "method": method,
            "area": statistics.area_under_curve(rows["fraction"], rows["mean"]),
            "gain_area": statistics.area_under_curve(rows["fraction"], rows["gain"]),
            "fractions": len(rows),
        }
        for method, rows in points.groupby("method")
    ]
    table = pd.DataFrame(areas).sort_values("area", ascending=False, ignore_index=True)
    return Curves(family, points, table)
