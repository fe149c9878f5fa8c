"""Figures of special protocols: omitted classes, temperature against the student's width."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kdbench.report import labels, style
from kdbench.report.figures import comparison
from kdbench.report.figures.beyond import means
from kdbench.report.frames import records
from kdbench.report.leaderboard import TEST
from kdbench.report.material import Material
from kdbench.report.searches import OBJECTIVE, file_stem

# Metric -> its words; the order of the marks.
BIASES = {
    TEST: "uncorrected",
    "eval/accuracy_bias_validation": "bias chosen on validation data",
    "audit/accuracy_bias_test": "bias chosen on test data (an upper bound)",
}


def omitted(material: Material) -> Iterator[style.Figure]:
    """Classes left out of the transfer set: accuracy as it is and with the logit bias corrected."""
    for board in material.largest:
        table = means(material, board, list(BIASES))
        present = [name for name in BIASES if name in table and table[name].notna().any()]
        table = table.dropna(subset=present[1:], how="all")
        if len(present) < 2 or table.empty:
            continue
        figure, axes = style.canvas(5.4, 0.5 + comparison.height(len(table)))
        for name, marker, face in zip(BIASES, "osD", (style.PAPER, style.INK, style.PAPER), strict=True):
            if name in present:
                axes.plot(
                    table[name], range(len(table)), marker, color=style.INK, mfc=face, label=BIASES[name]
                )
        comparison.rows(axes, list(table["method"]), comparison.ACCURACY)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), handletextpad=0.2)
        words = (
            f"{row['method']}: " + ", ".join(f"{row[name]:.2%}" for name in present) for row in records(table)
        )
        yield style.Figure(
            comparison.stem("omitted-classes", board),
            f"{material.title(board)}: classes the student never saw",
            "A bias on the omitted classes' logits makes up for training without them. Chosen on test data it"
            " is what the paper did, and an upper bound.",
            "; ".join(words),
            figure,
        )


def temperature(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy against temperature, one line per student: small students want lower ones."""
    points: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for study in material.studies:
        teacher, _, student = study.cell.pair.partition("->")
        for trial in records(study.complete):
            value = trial["params"].get("temperature")
            if isinstance(value, int | float):
                point = {"student": student, "x": float(value), "y": trial[OBJECTIVE]}
                points.setdefault((study.cell.suite, teacher, study.cell.method), []).append(point)
    for (suite, teacher, method), found in points.items():
        table = pd.DataFrame(found)
        students = sorted(table["student"].unique(), key=_width)
        if len(students) < 2 or table["x"].nunique() < 3:
            continue
        figure, axes = style.canvas()
        marks = style.marks(students, "")
        ends = {name: _trials(axes, table[table["student"] == name], marks[name]) for name in students}
        style.logarithmic(axes, "x")
        comparison.limit(axes, "y", table.groupby("student")["y"].nlargest(10).to_numpy())
        labels.at_ends(axes, ends, marks)
        style.percentages(axes)
        axes.set(xlabel="temperature (log scale)", ylabel="validation accuracy")
        best = table.loc[table.groupby("student")["y"].idxmax()].set_index("student")["x"]
        yield style.Figure(
            "-".join(map(file_stem, ("temperature", suite, teacher, method))),
            f"{method}, teacher {teacher}: temperature and student",
            "Complete trials of each student; lines join the best trial of each third of the temperatures"
            " (log"
            " scale). Other hyperparameters vary too; the scale is that of each student's ten best.",
            "; ".join(f"{name}: best at {best[name]:.3g}" for name in students),
            figure,
        )


def fixed_temperatures(material: Material) -> Iterator[style.Figure]:
    """Test accuracy of finals against temperature, a panel per student."""
    for (dataset, suite, teacher, method), found in _at_temperatures(material).items():
        table = pd.DataFrame(found).sort_values("x")
        students = sorted(table["student"].unique(), key=_width)
        if len(students) < 2 or table["x"].nunique() < 3:
            continue
        figure, panels = style.panels(len(students))
        for axes, name in zip(panels, students, strict=True):
            _temperatures(axes, table[table["student"] == name], style.marks(students, "")[name])
            axes.set(title=name, xlabel="temperature (log scale)")
        panels[0].set_ylabel(comparison.ACCURACY)
        accuracy = table["row"].map(lambda row: row["test_accuracy_mean"])
        best = table.loc[accuracy.groupby(table["student"]).idxmax()].set_index("student")["x"]
        yield style.Figure(
            "-".join(map(file_stem, ("temperatures", dataset, suite, teacher, method))),
            f"{dataset}: {method}, teacher {teacher}: temperature and student",
            "Tuned final runs at each temperature, mean over seeds with its 95 % interval; ticks are single"
            " seeds. Every panel has a scale of its own.",
            "; ".join(f"{name}: best at {best[name]:.3g}" for name in students),
            figure,
        )


def _at_temperatures(material: Material) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
    """By data set, suite, teacher and method: its rows that have a temperature, of whatever student."""
    params = dict(zip(material.runs.runs["run_id"], material.runs.runs["params"], strict=True))
    found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for board in material.largest:
        teacher, _, student = board.key.pair.partition("->")
        for row in records(board.table):
            value = params[row["runs"][0]].get("temperature") if row["runs"] else None
            if isinstance(value, int | float):
                method = material.plans.method(row["suite"], row["label"])
                sample = board.samples[row["method"]]
                point = {"student": student, "x": float(value), "row": row, "seeds": sample}
                found.setdefault((board.key.dataset, row["suite"], teacher, method), []).append(point)
    return found


def _temperatures(axes: Axes, points: pd.DataFrame, mark: style.Mark) -> None:
    means = [row["test_accuracy_mean"] for row in points["row"]]
    axes.plot(points["x"], means, **mark.path)
    for point in records(points):
        row = point["row"]
        ends = [row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]]
        axes.plot([point["x"]] * 2, ends, color=mark.colour, linewidth=1.2)
        axes.plot([point["x"]] * len(point["seeds"]), point["seeds"], "_", color=mark.colour, ms=8)
    style.logarithmic(axes, "x")
    comparison.limit(axes, "y", np.concatenate(points["seeds"].tolist()), 0.3)
    style.percentages(axes)


def _trials(axes: Axes, points: pd.DataFrame, mark: style.Mark) -> tuple[float, float]:
    """Draw one student's trials and the line through the best of each third; returns the line's end."""
    axes.plot(points["x"], points["y"], **mark.point, alpha=0.4)
    logs = np.log(points["x"])
    thirds = np.digitize(logs, np.linspace(logs.min(), logs.max(), 4)[1:3])
    best = points.assign(third=thirds).sort_values("y").groupby("third").tail(1).sort_values("x")
    axes.plot(best["x"], best["y"], color=mark.colour, linestyle=mark.line)
    return float(points["x"].max()), float(best["y"].iloc[-1])


def _width(name: str) -> tuple[str, list[int]]:
    """Sort key that puts mlp-30x2 before mlp-300x2."""
    digits = "".join(character if character.isdigit() else " " for character in name)
    return name.rstrip("0123456789x"), [int(part) for part in digits.split()]
