"""Figures of final runs: who is how good, with how much data, at which epoch, tuned and not."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from kdbench.report import statistics, style
from kdbench.report.leaderboard import BASELINES, TUNED, Leaderboard
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import file_stem

ACCURACY = "test accuracy"


class Band(NamedTuple):
    """A line over x with its interval."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def stem(kind: str, board: Leaderboard) -> str:
    """File name of a leaderboard's figure."""
    key = board.key
    return "-".join(map(file_stem, (kind, key.dataset, key.pair, key.protocol, f"{key.fraction:g}")))


def leaderboards(material: Material) -> Iterator[style.Figure]:
    """Mean, interval and single seeds of every method: the leaderboard drawn."""
    for board in material.largest:
        table = board.table.dropna(subset="test_accuracy_mean")
        if table.empty:
            continue
        figure, axes = style.canvas(5.6, 1.0 + 0.25 * len(table))
        axes.grid(axis="y", visible=False)
        for place, row in enumerate(table.to_dict("records")):
            mark, sample = material.marks[row["method"]], board.samples[row["method"]]
            low, high = row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
            axes.plot([low, high], [place, place], color=mark.colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(sample, np.full(len(sample), place), "|", color=mark.colour, markersize=8, alpha=0.8)
            filled = mark.colour if row["method"] in board.leading else style.PAPER
            axes.plot(
                row["test_accuracy_mean"],
                place,
                **mark.point,
                markersize=6.5,
                markerfacecolor=filled,
                zorder=3,
            )
        baseline = table.loc[table["label"] == BASELINES[0], "test_accuracy_mean"]
        if len(baseline) == 1:
            axes.axvline(baseline.iloc[0], color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_yticks(range(len(table)), table["method"])
        axes.set_ylim(len(table) - 0.4, -0.6)
        _limit(axes, "x", pd.concat([table["test_accuracy_mean"], *map(pd.Series, board.samples.values())]))
        axes.xaxis.set_major_formatter(percent())
        axes.set_xlabel(ACCURACY)
        yield style.Figure(
            stem("leaderboard", board),
            f"{material.title(board)}, {board.key.fraction:.0%} of the training data",
            "Mean test accuracy with its 95 % interval over seeds; ticks are single seeds. Filled: the leading group."
            + (" Dashed: original." if len(baseline) == 1 else ""),
            "; ".join(f"{r.method} {r.test_accuracy_mean:.2%}" for r in table.itertuples()),
            figure,
        )


def percent() -> PercentFormatter:
    """Accuracies in [0, 1] as per cent, with as many decimals as the axis needs."""
    return PercentFormatter(1.0, symbol=" %")


def _limit(axes: Axes, axis: str, values: pd.Series) -> None:
    """Bound an axis by the values: an interval over two seeds may be wider than all that is of interest."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    room = max(high - low, 0.002)
    axes.set(**{f"{axis}lim": (low - 0.35 * room, high + 0.35 * room)})


def bands(axes: Axes, lines: Mapping[str, Band], marks: style.Marks, shown: list[str]) -> None:
    """Draw the highlighted methods with bands and names at their ends, all others as thin grey lines."""
    for name in sorted(lines, key=shown.__contains__):
        line = lines[name]
        if name not in shown:
            axes.plot(line.x, line.mean, color=style.FAINT, linewidth=0.8, zorder=1)
            continue
        axes.plot(line.x, line.mean, **marks[name].path, markevery=max(1, len(line.x) // 8), zorder=3)
        axes.fill_between(
            line.x, line.low, line.high, color=marks[name].colour, alpha=0.1, linewidth=0, zorder=2
        )
    named = [lines[name].mean for name in shown if name in lines]
    if named:
        values = pd.Series(np.concatenate(named))
        _limit(axes, "y", values)
    style.label_ends(
        axes, {name: (lines[name].x[-1], lines[name].mean[-1]) for name in shown if name in lines}, marks
    )


def others(count: int, shown: int) -> str:
    """A caption's words for the lines drawn in grey."""
    return f" Grey: {count - shown} further methods; the table has them all." if count > shown else ""


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
        lines = {
            str(method): Band(rows["fraction"].to_numpy(), *(rows[column].to_numpy() for column in columns))
            for method, rows in points.groupby("method")
            if len(rows) > 1
        }
        if kind == "gain":
            lines = {name: line for name, line in lines.items() if np.any(line.mean)}
        shown = highlighted([name for name in found.areas["method"] if name in lines])
        if not lines:
            continue
        figure, axes = style.canvas()
        if kind == "gain":
            axes.axhline(0, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        fractions = sorted(points["fraction"].unique())
        axes.set_xticks(fractions, [f"{fraction:.0%}" for fraction in fractions])
        axes.minorticks_off()
        bands(axes, lines, material.marks, shown)
        axes.yaxis.set_major_formatter(percent())
        axes.set(xlabel="share of the training data (log scale)", ylabel=label)
        yield style.Figure(
            stem(f"{kind}-by-fraction", board),
            f"{material.title(board)}: {label}",
            "Means over seeds with 95 % bands." + others(len(lines), len(shown)),
            "; ".join(
                f"{name} from {lines[name].mean[0]:.2%} to {lines[name].mean[-1]:.2%}" for name in shown
            ),
            figure,
        )


def learning(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy by epoch of the tuned finals."""
    epochs = material.runs.epochs[material.runs.epochs["metric"] == "val/accuracy"]
    by_run = epochs.pivot(index="epoch", columns="run_id", values="value")
    for board in material.largest:
        lines = {}
        for row in board.table.itertuples():
            own = by_run.reindex(columns=row.runs).dropna(how="all")
            if len(own) < 2:
                continue
            interval = np.array(
                [statistics.mean_interval(values[np.isfinite(values)]) for values in own.to_numpy()]
            )
            lines[row.method] = Band(
                own.index.to_numpy(), own.mean(axis=1).to_numpy(), interval[:, 0], interval[:, 1]
            )
        if not lines:
            continue
        shown = highlighted([name for name in board.table["method"] if name in lines])
        figure, axes = style.canvas()
        bands(axes, lines, material.marks, shown)
        ends = np.concatenate([lines[name].mean[len(lines[name].mean) // 4 :] for name in shown])
        _limit(axes, "y", pd.Series(ends))
        axes.yaxis.set_major_formatter(percent())
        axes.set(xlabel="epoch", ylabel="validation accuracy")
        yield style.Figure(
            stem("learning", board),
            f"{material.title(board)}: learning curves",
            "Validation accuracy of the tuned final runs, mean over seeds with 95 % bands; the first quarter may leave"
            " the panel." + others(len(lines), len(shown)),
            "; ".join(f"{name} ends at {lines[name].mean[-1]:.2%}" for name in shown),
            figure,
        )


def default_and_tuned(material: Material) -> Iterator[style.Figure]:
    """What tuning was worth: default and tuned configuration of every method."""
    for board in material.largest:
        table = board.table.dropna(subset=["test_accuracy_mean", "default_test_accuracy_mean"])
        if table.empty:
            continue
        figure, axes = style.canvas(5.4, 1.0 + 0.25 * len(table))
        axes.grid(axis="y", visible=False)
        for place, row in enumerate(table.to_dict("records")):
            mark = material.marks[row["method"]]
            ends = row["default_test_accuracy_mean"], row["test_accuracy_mean"]
            axes.plot(ends, [place, place], color=mark.colour, linewidth=1.6, zorder=1)
            axes.plot(ends[0], place, **mark.point, markerfacecolor=style.PAPER, markersize=6, zorder=2)
            axes.plot(ends[1], place, **mark.point, markersize=6, zorder=3)
        axes.set_yticks(range(len(table)), table["method"])
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(percent())
        axes.set_xlabel(ACCURACY)
        yield style.Figure(
            stem("default-and-tuned", board),
            f"{material.title(board)}: default and tuned",
            "Hollow: the method's default configuration; filled: the best one of its search. Both are means over the"
            " same number of fresh seeds on test data; the search saw validation data only.",
            "; ".join(
                f"{r.method} {r.default_test_accuracy_mean:.2%} to {r.test_accuracy_mean:.2%}"
                for r in table.itertuples()
            ),
            figure,
        )


def tuned_finals(material: Material) -> pd.DataFrame:
    """The finals of tuned configurations."""
    finals = material.runs.of("final")
    return finals[finals["config"].isin(TUNED)]
