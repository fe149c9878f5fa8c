"""Figures beyond accuracy: cost, size, behaviour, exits, omitted classes, temperature."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kdbench.report import statistics, style
from kdbench.report.figures.comparison import ACCURACY, percent, stem, tuned_finals
from kdbench.report.leaderboard import TEST, Leaderboard
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import OBJECTIVE, file_stem

# Metric -> its words on an axis.
BEHAVIOUR = {
    "eval/magsim": "boundary similarity: MagSim",
    "eval/angsim": "boundary similarity: AngSim",
    "eval/robust_accuracy_fgsm": "robust accuracy (FGSM)",
    "eval/robust_accuracy_pgd": "robust accuracy (PGD)",
    "eval/ece": "expected calibration error",
    "eval/agreement": "agreement with the teacher",
}
SIZES = {"eval/parameters": "parameters", "eval/latency_ms": "latency (ms)"}
BIASES = {
    TEST: "uncorrected",
    "eval/accuracy_bias_validation": "bias chosen on validation",
    "audit/accuracy_bias_test": "bias chosen on test (as the paper did)",
}


def means(material: Material, board: Leaderboard, metrics: list[str]) -> pd.DataFrame:
    """Mean of each metric over the seeds of every row: method, accuracy, one column per metric that was logged."""
    by_run = material.runs.runs.set_index("run_id")
    present = [name for name in metrics if name in by_run]
    rows = [
        {"method": row.method, "accuracy": row.test_accuracy_mean, "cost": row.device_seconds}
        | by_run.loc[row.runs, present].mean().to_dict()
        for row in board.table.itertuples()
        if row.n
    ]
    return pd.DataFrame(rows, columns=["method", "accuracy", "cost", *present])


def _scatter(axes: Axes, table: pd.DataFrame, x: str, marks: style.Marks, named: list[str]) -> None:
    for row in table.itertuples():
        axes.plot(getattr(row, "x"), row.accuracy, **marks[row.method].point, markersize=6)
    style.label_points(
        axes, {row.method: (row.x, row.accuracy) for row in table.itertuples() if row.method in named}, marks
    )
    axes.yaxis.set_major_formatter(percent())
    axes.set(xlabel=x, ylabel=ACCURACY)
    axes.margins(0.12)


def _front(axes: Axes, table: pd.DataFrame) -> list[str]:
    """Draw the Pareto front; returns the methods on it."""
    front = table.iloc[statistics.pareto_front(table["x"], table["accuracy"])]
    axes.step(front["x"], front["accuracy"], where="post", color=style.INK, linewidth=0.8, zorder=0)
    return list(front["method"])


def cost(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against the device time that finding and training it took."""
    for board in material.largest:
        table = means(material, board, []).rename(columns={"cost": "x"}).dropna()
        if len(table) < 2:
            continue
        figure, axes = style.canvas()
        front = _front(axes, table)
        _scatter(
            axes,
            table,
            "device-seconds: trials and finals, teachers apart",
            material.marks,
            _named(table, front),
        )
        if table["x"].max() / table["x"].min() > 5:
            style.logarithmic(axes, "x")
        yield style.Figure(
            stem("cost", board),
            f"{material.title(board)}: accuracy and cost",
            "Line: the Pareto front (no other method is both cheaper and better).",
            "On the front: " + ", ".join(front),
            figure,
        )


def _named(table: pd.DataFrame, front: list[str]) -> list[str]:
    ordered = [*front, *(name for name in table["method"] if name not in front)]
    return highlighted(ordered)


def sizes(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against the student's size and speed, over all pairs of a data set."""
    for dataset in sorted({board.key.dataset for board in material.largest}):
        boards = [board for board in material.largest if board.key.dataset == dataset]
        tables = [
            means(material, board, list(SIZES)).assign(pair=board.key.pair.replace("->", "→"))
            for board in boards
        ]
        whole = pd.concat(tables, ignore_index=True)
        for metric, words in SIZES.items():
            if metric not in whole or whole[metric].nunique() < 2 or whole["pair"].nunique() < 2:
                continue
            table = whole.assign(x=whole[metric]).dropna(subset=["x"])
            best = table.sort_values("accuracy").groupby("pair").tail(1)
            figure, axes = style.canvas()
            _front(axes, table)
            _scatter(axes, table, words, material.marks, [])
            for row in best.itertuples():
                axes.annotate(
                    f"{row.method}\n{row.pair}",
                    (row.x, row.accuracy),
                    (0, 6),
                    textcoords="offset points",
                    fontsize=7.5,
                    ha="center",
                )
            style.logarithmic(axes, "x")
            yield style.Figure(
                "-".join(map(file_stem, ("size", dataset, words.split()[0]))),
                f"{dataset}: accuracy and {words}",
                "Every method and pair; named: the best of each pair. Line: the Pareto front.",
                "; ".join(f"{row.pair}: {row.method} {row.accuracy:.2%}" for row in best.itertuples()),
                figure,
            )


def behaviour(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against what else a student does like, or unlike, its teacher."""
    for board in material.largest:
        table = means(material, board, list(BEHAVIOUR))
        for metric, words in BEHAVIOUR.items():
            if metric not in table or table[metric].count() < 2:
                continue
            points = table.assign(x=table[metric]).dropna(subset=["x"])
            figure, axes = style.canvas(4.4, 3.2)
            _scatter(axes, points, words, material.marks, highlighted(list(points["method"])))
            yield style.Figure(
                stem(file_stem(metric.removeprefix("eval/")), board),
                f"{material.title(board)}: {words}",
                "Means over the seeds of the tuned finals.",
                "; ".join(f"{row.method} {row.x:.3f}" for row in points.itertuples()),
                figure,
            )


def exits(material: Material) -> Iterator[style.Figure]:
    """Accuracy against latency at every exit of networks that can answer early."""
    finals = tuned_finals(material)
    numbers = sorted(
        int(name.removeprefix("eval/exit").removesuffix("_accuracy"))
        for name in finals
        if name.startswith("eval/exit") and name.endswith("_accuracy")
    )
    by_run = finals.set_index("run_id")
    for board in material.largest if numbers else ():
        lines: dict[str, pd.DataFrame] = {}
        for row in board.table.itertuples():
            own = by_run.loc[row.runs]
            points = [
                {
                    "x": own.get(f"eval/exit{number}_latency_ms", pd.Series(dtype=float)).mean(),
                    "y": own[f"eval/exit{number}_accuracy"].mean(),
                }
                for number in numbers
            ]
            lines[row.method] = pd.DataFrame(points).dropna()
        lines = {name: points for name, points in lines.items() if len(points)}
        if not lines:
            continue
        figure, axes = style.canvas()
        for name, points in lines.items():
            axes.plot(points["x"], points["y"], **material.marks[name].path)
            runs = board.table.loc[board.table["method"] == name, "runs"].iloc[0]
            ensemble = by_run.loc[runs].get("eval/ensemble_accuracy", pd.Series(dtype=float)).mean()
            axes.plot(points["x"].max(), ensemble, "*", color=material.marks[name].colour, markersize=10)
        style.label_ends(
            axes, {n: (p["x"].iloc[-1], p["y"].iloc[-1]) for n, p in lines.items()}, material.marks
        )
        axes.yaxis.set_major_formatter(percent())
        axes.set(xlabel="latency (ms)", ylabel=ACCURACY)
        yield style.Figure(
            stem("exits", board),
            f"{material.title(board)}: answering early",
            "Each exit of the self-distilled network, shallow to deep; star: the ensemble of all exits, at the deepest"
            " one's latency.",
            "; ".join(f"{n}: " + ", ".join(f"{y:.2%}" for y in p["y"]) for n, p in lines.items()),
            figure,
        )


def omitted(material: Material) -> Iterator[style.Figure]:
    """Classes left out of the transfer set: accuracy as it is and with the logit bias corrected."""
    for board in material.largest:
        table = means(material, board, list(BIASES))
        present = [name for name in BIASES if name in table and table[name].notna().any()]
        if set(present) <= {TEST}:
            continue
        table = table.dropna(subset=present[1:], how="all")
        figure, axes = style.canvas(5.4, 1.3 + 0.3 * len(table))
        axes.grid(axis="y", visible=False)
        for name, marker, filled in zip(BIASES, "oDs", (False, True, False), strict=True):
            if name in present:
                face = style.INK if filled else style.PAPER
                axes.plot(
                    table[name],
                    range(len(table)),
                    marker,
                    color=style.INK,
                    markerfacecolor=face,
                    label=BIASES[name],
                )
        axes.set_yticks(range(len(table)), table["method"])
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(percent())
        axes.set_xlabel(ACCURACY)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1)
        yield style.Figure(
            stem("omitted-classes", board),
            f"{material.title(board)}: classes the student never saw",
            "A bias on the omitted classes' logits corrects what training without them did. The one chosen on test data"
            " is an upper bound, not a result.",
            "; ".join(
                f"{row['method']}: " + ", ".join(f"{row[n]:.2%}" for n in present)
                for row in table.to_dict("records")
            ),
            figure,
        )


def temperature(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy against temperature, one line per student: small students want lower temperatures."""
    trials: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for study in material.studies:
        teacher, _, student = study.cell.pair.partition("->")
        for row in study.complete.to_dict("records"):
            value = row["params"].get("temperature")
            if isinstance(value, int | float):
                point = {"student": student, "x": float(value), "y": row[OBJECTIVE]}
                trials.setdefault((study.cell.suite, teacher, study.cell.method), []).append(point)
    for (suite, teacher, method), points in trials.items():
        table = pd.DataFrame(points)
        if table["student"].nunique() < 2 or table["x"].nunique() < 3:
            continue
        figure, axes = style.canvas()
        students = sorted(table["student"].unique(), key=_width)
        marks = style.marks(students, "")
        ends = {name: _envelope(axes, table[table["student"] == name], marks[name]) for name in students}
        style.logarithmic(axes, "x")
        style.label_ends(axes, ends, marks)
        axes.yaxis.set_major_formatter(percent())
        axes.set(xlabel="temperature (log scale)", ylabel="validation accuracy")
        yield style.Figure(
            "-".join(map(file_stem, ("temperature", suite, teacher, method))),
            f"{method}, teacher {teacher}: temperature and student",
            "Complete trials of each student; lines: the best trial of each third of the searched (log) range. Other"
            " hyperparameters vary too.",
            "; ".join(f"{name}: best at T = {_best(table, name):.3g}" for name in students),
            figure,
        )


def _envelope(axes: Axes, points: pd.DataFrame, mark: style.Mark) -> tuple[float, float]:
    axes.plot(points["x"], points["y"], **mark.point, alpha=0.45)
    bins = np.digitize(
        np.log(points["x"]), np.linspace(*np.log([points["x"].min(), points["x"].max()]), 4)[1:3]
    )
    best = points.assign(bin=bins).sort_values("y").groupby("bin").tail(1).sort_values("x")
    axes.plot(best["x"], best["y"], color=mark.colour, linestyle=mark.line)
    return points["x"].max(), best["y"].iloc[-1]


def _best(table: pd.DataFrame, student: str) -> float:
    own = table[table["student"] == student]
    return float(own.loc[own["y"].idxmax(), "x"])


def _width(name: str) -> tuple[str, list[int]]:
    """Sort key that puts mlp-30x2 before mlp-300x2."""
    digits = [int(part) for part in "".join(c if c.isdigit() else " " for c in name).split()]
    return name.rstrip("0123456789x"), digits
