"""Figures beyond accuracy: cost, size, behaviour, early exits."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from kdbench.report import labels, statistics, style
from kdbench.report.figures.comparison import ACCURACY, limit, stem
from kdbench.report.frames import columns, records
from kdbench.report.leaderboard import Leaderboard
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import file_stem

# Metric -> its words on an axis.
BEHAVIOUR = {
    "eval/magsim": "boundary similarity (MagSim)",
    "eval/angsim": "boundary similarity (AngSim)",
    "eval/robust_accuracy_fgsm": "robust accuracy (FGSM)",
    "eval/robust_accuracy_pgd": "robust accuracy (PGD)",
    "eval/ece": "expected calibration error",
    "eval/agreement": "agreement with the teacher",
}
SIZES = {"eval/parameters": "parameters", "eval/latency_ms": "latency (ms)"}


def means(material: Material, board: Leaderboard, metrics: list[str]) -> pd.DataFrame:
    """Means over the seeds of every row that has results: method, accuracy, cost, and the metrics logged."""
    by_run = material.runs.runs.set_index("run_id")
    present = [name for name in metrics if name in by_run]
    rows = [
        {
            "method": row["method"],
            "accuracy": row["test_accuracy_mean"],
            "cost": row["device_seconds"],
            "whole": row["n"] >= row["planned"],
        }
        | by_run.loc[row["runs"], present].mean().to_dict()
        for row in records(board.table)
        if row["n"]
    ]
    return pd.DataFrame(rows, columns=["method", "accuracy", "cost", "whole", *present])


def scatter(axes: Axes, points: pd.DataFrame, quantity: str, marks: style.Marks, named: list[str]) -> None:
    """Accuracy against `x`, one mark per row, with the names of `named`."""
    for row in records(points):
        axes.plot(row["x"], row["accuracy"], **marks[row["method"]].point, ms=6)
    limit(axes, "y", points["accuracy"].to_numpy())
    labels.beside_points(
        axes,
        {row["method"]: (row["x"], row["accuracy"]) for row in records(points) if row["method"] in named},
        marks,
    )
    style.percentages(axes)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel=quantity, ylabel=ACCURACY)


def _front(axes: Axes, points: pd.DataFrame) -> list[str]:
    """Draw the Pareto front of methods with all their final runs; returns the methods on it.

    A run that diverges at once is cheap: what has lost some is no bargain.
    """
    points = points[points["whole"]]
    front = points.iloc[statistics.pareto_front(points["x"], points["accuracy"])]
    axes.step(front["x"], front["accuracy"], where="post", color=style.INK, linewidth=0.8, zorder=0)
    return list(front["method"])


def cost(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against the device time that finding and training it took."""
    for board in material.largest:
        points = means(material, board, []).rename(columns={"cost": "x"}).dropna()
        if len(points) < 2 or points["x"].min() <= 0:
            continue
        figure, axes = style.canvas()
        front = _front(axes, points)
        if points["x"].max() / points["x"].min() > 5:
            style.logarithmic(axes, "x")
        axes.margins(x=0.12)
        ordered = [*front, *(name for name in points["method"] if name not in front)]
        quantity = "device-seconds of trials and finals, teachers apart"
        scatter(axes, points, quantity, material.marks, highlighted(ordered))
        yield style.Figure(
            stem("cost", board),
            f"{material.title(board)}: accuracy and cost",
            "Line: the Pareto front; no other method is both cheaper and better. Methods with missing final"
            " runs are not on it.",
            "On the front: " + ", ".join(front),
            figure,
        )


def sizes(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against the student's size and speed, over all pairs of a data set."""
    for dataset in sorted({board.key.dataset for board in material.largest}):
        boards = [board for board in material.largest if board.key.dataset == dataset]
        several = len({board.key.protocol for board in boards}) > 1
        tables = [
            means(material, board, list(SIZES)).assign(pair=board.key.pair.replace("->", "→"))
            for board in boards
        ]
        whole = pd.concat(tables, ignore_index=True)
        for metric, quantity in SIZES.items():
            if metric not in whole or whole[metric].nunique() < 2 or whole["pair"].nunique() < 2:
                continue
            points = whole.assign(x=whole[metric]).dropna(subset=["x"])
            teachers = set(points["pair"].str.partition("→")[0])
            best = points.sort_values("accuracy").groupby("pair").tail(1)
            figure, axes = style.canvas()
            _front(axes, points)
            if points["x"].max() / points["x"].min() > 5:
                style.logarithmic(axes, "x")
            axes.margins(x=0.25)
            scatter(axes, points, quantity, material.marks, [])
            for row in records(best):
                teacher, _, student = row["pair"].partition("→")
                note = f"{row['method']}\n{student if teachers == {teacher} else row['pair']}"
                axes.annotate(
                    note,
                    (row["x"], row["accuracy"]),
                    (0, 6),
                    textcoords="offset points",
                    fontsize=labels.SIZE,
                    ha="center",
                )
            limit(axes, "y", points["accuracy"].to_numpy(), 0.25)
            yield style.Figure(
                "-".join(map(file_stem, ("size", dataset, quantity.split()[0]))),
                f"{dataset}: accuracy and {quantity}",
                "Every method and pair; named: the best of each pair. Line: the Pareto front."
                + (" Their protocols differ: the leaderboards say how." if several else ""),
                "; ".join(f"{row['pair']}: {row['method']} {row['accuracy']:.2%}" for row in records(best)),
                figure,
            )


def behaviour(material: Material) -> Iterator[style.Figure]:
    """Test accuracy against what else a student does like, or unlike, its teacher."""
    for board in material.largest:
        table = means(material, board, list(BEHAVIOUR))
        for metric, quantity in BEHAVIOUR.items():
            if metric not in table or table[metric].nunique() < 2:
                continue
            points = table.assign(x=table[metric]).dropna(subset=["x"])
            figure, axes = style.canvas(4.6, 3.1)
            axes.margins(x=0.12)
            scatter(axes, points, quantity, material.marks, highlighted(list(points["method"])))
            yield style.Figure(
                stem(file_stem(metric.removeprefix("eval/")), board),
                f"{material.title(board)}: {quantity}",
                "Means over the seeds of the tuned finals.",
                "; ".join(f"{row['method']} {row['x']:.3f}" for row in records(points)),
                figure,
            )


def exits(material: Material) -> Iterator[style.Figure]:
    """Accuracy against latency at every exit of networks that can answer early."""
    by_run = material.runs.of("final").set_index("run_id")
    numbers = sorted(
        int(name.removeprefix("eval/exit").removesuffix("_accuracy"))
        for name in columns(by_run)
        if name.startswith("eval/exit") and name.endswith("_accuracy")
    )
    for board in material.largest if numbers else ():
        lines = {
            row["method"]: line
            for row in records(board.table)
            if len(line := _exits(by_run.loc[row["runs"]], numbers))
        }
        if not lines:
            continue
        figure, axes = style.canvas()
        axes.margins(x=0.12)
        for name, line in lines.items():
            mark = material.marks[name]
            axes.plot(line["x"], line["y"], **mark.path)
            axes.plot(line["together"].iloc[0], line["ensemble"].iloc[0], "*", color=mark.colour, ms=11)
        style.percentages(axes)
        labels.at_ends(
            axes, {n: (p["x"].iloc[-1], p["y"].iloc[-1]) for n, p in lines.items()}, material.marks
        )
        axes.set(xlabel="latency (ms)", ylabel=ACCURACY)
        yield style.Figure(
            stem("exits", board),
            f"{material.title(board)}: answering early",
            "Each exit of the self-distilled network, joined from shallow to deep, and as a star the ensemble"
            " of all exits. Latencies are measured, mean over the seeds.",
            "; ".join(f"{n}: " + ", ".join(f"{y:.2%}" for y in p["y"]) for n, p in lines.items()),
            figure,
        )


def _exits(runs: pd.DataFrame, numbers: list[int]) -> pd.DataFrame:
    """Means over a row's runs: latency x and accuracy y of every exit, and both of the ensemble."""
    mean = runs.select_dtypes("number").mean()
    points = [
        {
            "x": mean.get(f"eval/exit{number}_latency_ms"),
            "y": mean.get(f"eval/exit{number}_accuracy"),
            "ensemble": mean.get("eval/ensemble_accuracy"),
        }
        for number in numbers
    ]
    table = pd.DataFrame(points, dtype=float).dropna(subset=["x", "y"])
    # All exits answer in one pass through the whole network; older runs did not time it.
    return table.assign(together=mean.get("eval/ensemble_latency_ms", table["x"].max()))
