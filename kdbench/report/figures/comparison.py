"""Figures of final runs: who is how good, with how much data, at which epoch, tuned and not."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kdbench.report import labels, statistics, style
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES, Leaderboard
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import file_stem

ACCURACY = "test accuracy"
BANDS = 4  # lines with a band in one panel; more would be a fog
Values = NDArray[np.float64]


class Band(NamedTuple):
    """A line over x with its interval."""

    x: Values
    mean: Values
    low: Values
    high: Values


def stem(kind: str, board: Leaderboard) -> str:
    """File name of a leaderboard's figure."""
    key = board.key
    return "-".join(map(file_stem, (kind, key.dataset, key.pair, key.protocol, f"{key.fraction:g}")))


def rows(axes: Axes, names: list[str], quantity: str) -> None:
    """Name the rows of a panel that has one per method, first on top, over a percentage."""
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(quantity)
    style.percentages(axes, "x")


def height(count: int) -> float:
    """Inches of a panel with so many rows."""
    return 0.9 + 0.24 * count


def leaderboards(material: Material) -> Iterator[style.Figure]:
    """Mean, interval and single seeds of every method: the leaderboard drawn."""
    for board in material.largest:
        table = board.table.dropna(subset="test_accuracy_mean")
        if table.empty:
            continue
        figure, axes = style.canvas(5.4, height(len(table)))
        for place, row in enumerate(records(table)):
            mark, sample = material.marks[row["method"]], board.samples[row["method"]]
            ends = row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
            axes.plot(ends, [place, place], color=mark.colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(sample, np.full(len(sample), place), "|", color=mark.colour, markersize=8)
            face = mark.colour if row["method"] in board.leading else style.PAPER
            axes.plot(row["test_accuracy_mean"], place, **mark.point, mfc=face, ms=6.5, zorder=3)
        baseline = table.loc[table["label"] == BASELINES[0], "test_accuracy_mean"]
        if len(baseline) == 1:
            axes.axvline(baseline.iloc[0], **style.REFERENCE)
        rows(axes, list(table["method"]), ACCURACY)
        limit(axes, "x", np.concatenate([board.samples[name] for name in table["method"]]), 0.35)
        yield style.Figure(
            stem("leaderboard", board),
            f"{material.title(board)}: {ACCURACY}",
            "Mean with its 95 % interval over seeds (one that ends at the edge is wider); ticks are single"
            " seeds. Filled: the leading group."
            + (f" Dashed: {BASELINES[0]}." if len(baseline) == 1 else ""),
            "; ".join(f"{r['method']} {r['test_accuracy_mean']:.2%}" for r in records(table)),
            figure,
            board.key,
        )


def default_and_tuned(material: Material) -> Iterator[style.Figure]:
    """What tuning was worth: default and tuned configuration of every method."""
    for board in material.largest:
        table = board.table.dropna(subset=["test_accuracy_mean", "default_test_accuracy_mean"])
        if table.empty:
            continue
        figure, axes = style.canvas(5.4, height(len(table)))
        for place, row in enumerate(records(table)):
            mark = material.marks[row["method"]]
            ends = row["default_test_accuracy_mean"], row["test_accuracy_mean"]
            axes.plot(ends, [place, place], color=mark.colour, zorder=1)
            axes.plot(ends[0], place, **mark.point, mfc=style.PAPER, ms=6, zorder=2)
            axes.plot(ends[1], place, **mark.point, ms=6, zorder=3)
        rows(axes, list(table["method"]), ACCURACY)
        changes = table["test_accuracy_mean"] - table["default_test_accuracy_mean"]
        yield style.Figure(
            stem("default-and-tuned", board),
            f"{material.title(board)}: default and tuned",
            "Hollow: the method's default configuration; filled: the best one of its search. Means over fresh"
            " seeds on test data, of which the search saw nothing.",
            "; ".join(f"{m} {c:+.2%}" for m, c in zip(table["method"], changes, strict=True)),
            figure,
            board.key,
        )


def limit(axes: Axes, axis: str, values: Values, room: float = 0.12) -> None:
    """Bound an axis by the values: an interval over two seeds may be wider than all that is of interest.

    Values are at most 1: accuracies, their gains, rank correlations.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    margin = room * max(high - low, 0.002)
    axes.set(**{f"{axis}lim": (low - margin, high + margin)})
    style.cap(axes, axis)


def bands(axes: Axes, lines: Mapping[str, Band], marks: style.Marks, shown: list[str], view: Values) -> None:
    """Draw the highlighted methods with their names, all others as thin grey lines.

    Few lines all have bands; of many the best two and the baselines. `view` holds the heights to be seen.
    """
    some = {*(name for name in shown if name in BASELINES), *shown[:2]}
    with_band = shown if len(shown) <= BANDS else some
    for name in sorted(lines, key=shown.__contains__):
        line = lines[name]
        if name not in shown:
            axes.plot(line.x, line.mean, color=style.FAINT, linewidth=0.8, zorder=1)
            continue
        axes.plot(line.x, line.mean, **marks[name].path, markevery=max(1, len(line.x) // 8), zorder=3)
        if name in with_band:
            colour = marks[name].colour
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.12, linewidth=0, zorder=2)
    limit(axes, "y", view)
    labels.at_ends(axes, {name: (lines[name].x[-1], lines[name].mean[-1]) for name in shown}, marks)


def words(lines: int, shown: int) -> str:
    """A caption's words for the bands that were left out and the lines drawn in grey."""
    few = " Bands of the best two and the baselines only." if shown > BANDS else ""
    return few + others(lines, shown)


def others(lines: int, shown: int) -> str:
    """A caption's words for the lines drawn in grey."""
    return f" Grey: {lines - shown} further methods; the table has them all." if lines > shown else ""


def accuracy_by_fraction(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against the share of training data."""
    yield from _by_fraction(material, ("mean", "low", "high"), "accuracy", ACCURACY)


def gain_by_fraction(material: Material) -> Iterator[style.Figure]:
    """Gain over the tuned baseline against the share of training data."""
    yield from _by_fraction(material, ("gain", "gain_low", "gain_high"), "gain", f"gain over {BASELINES[0]}")


def _by_fraction(
    material: Material, columns: tuple[str, str, str], kind: str, label: str
) -> Iterator[style.Figure]:
    for found in material.curves:
        board = found.family[0]
        points = found.points.dropna(subset=columns[0])
        if kind == "gain":
            points = points[points["label"] != BASELINES[0]]
        lines = {
            str(method): Band(group["fraction"].to_numpy(), *(group[name].to_numpy() for name in columns))
            for method, group in points.groupby("method")
            if len(group) > 1
        }
        shown = highlighted([name for name in found.areas["method"] if name in lines])
        if not lines:
            continue
        figure, axes = style.canvas()
        if kind == "gain":
            axes.axhline(0, **style.REFERENCE)
        axes.set_xscale("log")
        fractions = sorted(points["fraction"].unique())
        axes.set_xticks(fractions, [f"{100 * fraction:g} %" for fraction in fractions])
        axes.minorticks_off()
        bands(axes, lines, material.marks, shown, np.concatenate([lines[name].mean for name in shown]))
        style.percentages(axes)
        axes.set(xlabel="share of the training data (log scale)", ylabel=label)
        yield style.Figure(
            stem(f"{kind}-by-fraction", board),
            f"{material.title(board)}: {label} with less data",
            f"Means over seeds with 95 % bands.{words(len(lines), len(shown))}",
            "; ".join(f"{n} from {lines[n].mean[0]:.2%} to {lines[n].mean[-1]:.2%}" for n in shown),
            figure,
        )


def learning(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy by epoch of the tuned finals."""
    epochs = material.runs.epochs[material.runs.epochs["metric"] == "val/accuracy"]
    by_run = epochs.pivot(index="epoch", columns="run_id", values="value")
    for board in material.largest:
        lines = {}
        for row in records(board.table):
            own = by_run.reindex(columns=row["runs"]).dropna(how="all")
            if len(own) > 1:
                lines[row["method"]] = _over_seeds(own)
        if not lines:
            continue
        shown = highlighted([name for name in board.table["method"] if name in lines])
        figure, axes = style.canvas()
        late = np.concatenate([lines[name].mean[len(lines[name].mean) // 3 :] for name in shown])
        bands(axes, lines, material.marks, shown, late)
        style.percentages(axes)
        style.integers(axes)
        axes.set(xlabel="epoch", ylabel="validation accuracy")
        yield style.Figure(
            stem("learning", board),
            f"{material.title(board)}: learning curves",
            "Validation accuracy of the tuned final runs, mean over seeds with 95 % bands; the scale is"
            " that of"
            f" the last two thirds.{words(len(lines), len(shown))}",
            "; ".join(f"{name} ends at {lines[name].mean[-1]:.2%}" for name in shown),
            figure,
        )


def _over_seeds(curves: pd.DataFrame) -> Band:
    values = curves.to_numpy(dtype=float)
    ends = np.array([statistics.mean_interval(row[np.isfinite(row)]) for row in values])
    return Band(curves.index.to_numpy(dtype=float), np.nanmean(values, axis=1), ends[:, 0], ends[:, 1])
