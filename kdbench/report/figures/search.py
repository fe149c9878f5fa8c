"""Figures of the search: how fast it got where, what mattered, whether stopping early was safe."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from kdbench.report import labels, statistics, style
from kdbench.report.figures.comparison import limit, others
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import IMPORTANCE_TRIALS, OBJECTIVE, Study, file_stem, rank_agreement, rungs

Group = list[Study]
Values = NDArray[np.float64]
SLICES = 3  # hyperparameters per method in a slice figure


def groups(material: Material) -> list[Group]:
    """Studies that searched for the same pair on the same data: the methods of one panel, best first."""

    def same(study: Study) -> tuple[str, str, float]:
        return study.cell.suite, study.cell.pair, study.cell.fraction

    ordered = sorted(
        material.studies, key=lambda study: (*same(study), -study.values.max(), study.cell.method)
    )
    return [list(members) for _, members in groupby(ordered, same)]


def _name(kind: str, group: Group) -> str:
    cell = group[0].cell
    return "-".join(map(file_stem, (kind, cell.suite, cell.pair, f"{cell.fraction:g}")))


def _title(group: Group) -> str:
    cell = group[0].cell
    return f"{cell.pair.replace('->', '→')}, {100 * cell.fraction:g} % of the training data"


def expected(material: Material) -> Iterator[style.Figure]:
    """Expected validation performance against the number of trials."""
    for group in groups(material):
        label = (
            "An unbiased estimate for this random search without early stopping."
            if material.plans.unbiased(group[0].cell.suite)
            else "Descriptive: the trials were no independent draws (adaptive sampler or early stopping)."
        )
        caption = (
            "Expected best validation accuracy of k of the study's trials. A pruned, diverged or failed one"
            f" counts as 0, lower than any complete one. {label}"
        )
        yield from _progress(
            material,
            group,
            ("expected", "expected validation performance"),
            lambda study: statistics.expected_best(study.values),
            caption,
        )


def so_far(material: Material) -> Iterator[style.Figure]:
    """Best complete trial so far, in the order in which the trials were asked for."""
    caption = "Validation accuracy of the best complete trial so far, in the order of the trials."
    for group in groups(material):
        yield from _progress(
            material, group, ("best-so-far", "best so far"), lambda study: study.best_so_far, caption
        )


def _progress(
    material: Material, group: Group, kind: tuple[str, str], curve: Callable[[Study], Values], caption: str
) -> Iterator[style.Figure]:
    found = [study for study in group if len(study.complete) and len(study.trials) > 1]
    curves = {study.cell.method: curve(study) for study in found}
    if not curves:
        return
    shown = highlighted(list(curves))
    figure, axes = style.canvas()
    for name in sorted(curves, key=shown.__contains__):
        values = curves[name]
        look: dict[str, Any] = {"color": style.FAINT, "linewidth": 0.8, "zorder": 1}
        if name in shown:
            look = {**material.marks[name].path, "markevery": max(1, len(values) // 8)}
        axes.plot(np.arange(1, len(values) + 1), values, **look)
    limit(axes, "y", np.concatenate([curves[name][len(curves[name]) // 2 :] for name in shown]), 0.3)
    labels.at_ends(axes, {name: (len(curves[name]), curves[name][-1]) for name in shown}, material.marks)
    axes.set(xlabel="trials", ylabel="validation accuracy")
    style.integers(axes)
    style.percentages(axes)
    yield style.Figure(
        _name(kind[0], group),
        f"{_title(group)}: {kind[1]}",
        caption + others(len(curves), len(shown)),
        "; ".join(f"{name} reaches {curves[name][-1]:.2%} after {len(curves[name])}" for name in shown),
        figure,
    )


def importances(material: Material) -> Iterator[style.Figure]:
    """Which hyperparameters explain how much of a search's outcome: methods by hyperparameters."""
    for group in groups(material):
        shown = highlighted([study.cell.method for study in group])
        shares = {
            study.cell.method: share
            for study in group
            if study.cell.method in shown and (share := material.importance(study))
        }
        if not shares:
            continue
        totals: dict[str, float] = {}
        for share in shares.values():
            for name, value in share.items():
                totals[name] = totals.get(name, 0.0) + value
        names = sorted(totals, key=lambda name: (-totals[name], name))
        figure, axes = style.canvas(1.6 + 0.62 * len(names), 1.1 + 0.25 * len(shares))
        _heat(axes, shares, names)
        first = (f"{method}: {max(share, key=share.__getitem__)}" for method, share in shares.items())
        yield style.Figure(
            _name("importance", group),
            f"{_title(group)}: what mattered",
            "Share of the variance of validation accuracy that each hyperparameter explains (fANOVA over"
            f" {IMPORTANCE_TRIALS} complete trials or more), in the regions that the sampler visited."
            + others_left(group, shown),
            "Most important: " + "; ".join(first),
            figure,
        )


def others_left(group: Group, shown: list[str]) -> str:
    """A caption's words for the methods that have no row here."""
    return f" {len(group) - len(shown)} further methods are left out." if len(group) > len(shown) else ""


def _heat(axes: Axes, shares: Mapping[str, Mapping[str, float]], names: list[str]) -> None:
    for place, share in enumerate(shares.values()):
        for column, name in enumerate(names):
            if name in share:
                look: dict[str, Any] = {"facecolor": style.COLOURS[0][0], "alpha": 0.06 + 0.5 * share[name]}
                axes.add_patch(Rectangle((column - 0.5, place - 0.5), 1, 1, edgecolor="none", **look))
                axes.text(
                    column,
                    place,
                    f"{100 * share[name]:.0f} %",
                    ha="center",
                    va="center",
                    fontsize=labels.SIZE,
                )
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(shares) - 0.5, -0.5))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def slices(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy of the trials against each of the most important hyperparameters."""
    for group in groups(material):
        shown = highlighted([study.cell.method for study in group])
        for study in group:
            if study.cell.method in shown and len(study.complete) >= 3:
                yield from _slice(material, study)


def _slice(material: Material, study: Study) -> Iterator[style.Figure]:
    space = material.plans.spaces.get(study.cell) or {}
    params = study.trials["params"].tolist()
    share = material.importance(study)
    names = [
        name
        for name in (space or params[0])
        if len({trial.get(name) for trial in params}) > 1
        and not any(isinstance(trial.get(name), str) for trial in params)
    ]
    names = sorted(names, key=lambda name: (-share.get(name, 0.0), name))[:SLICES]
    if not names:
        return
    figure, panels = style.strip(len(names))
    complete = study.trials.index.isin(study.complete.index)
    last = study.trials[OBJECTIVE].to_numpy(dtype=float)
    limit(panels[0], "y", last[complete], 0.2)
    floor = panels[0].get_ylim()[0]
    for axes, name in zip(panels, names, strict=True):
        values = np.array([float(trial.get(name, np.nan)) for trial in params])
        rest = np.maximum(np.nan_to_num(last[~complete], nan=floor), floor)
        axes.plot(values[~complete], rest, "x", color=style.INK, alpha=0.4, ms=4, clip_on=False)
        axes.plot(values[complete], last[complete], **material.marks[study.cell.method].point, alpha=0.85)
        if _spans_decades(values, space.get(name)):
            style.logarithmic(axes, "x")
        axes.set_xlabel(name)
        axes.set_ylim(panels[0].get_ylim())
        axes.tick_params(labelleft=axes is panels[0])
    style.percentages(panels[0])
    panels[0].set_ylabel("validation acc.")
    cell = study.cell
    yield style.Figure(
        "-".join(map(file_stem, ("slice", cell.suite, cell.pair, f"{cell.fraction:g}", cell.method))),
        f"{cell.method}: trials ({_title([study])})",
        "Complete trials; crosses: pruned, diverged or failed ones, at the lower edge where they lie below.",
        f"{len(study.complete)} complete of {len(study.trials)} trials",
        figure,
    )


def _spans_decades(values: Values, domain: Mapping[str, Any] | None) -> bool:
    if domain:
        return bool(domain["scale"] == "log")
    return bool(np.nanmin(values) > 0 and np.nanmax(values) / np.nanmin(values) >= 100)


def agreements(material: Material) -> Iterator[style.Figure]:
    """Whether a trial's rank at an epoch told its rank at the end: a check on early stopping."""
    for group in groups(material):
        found = {study.cell.method: tau for study in group if len(tau := rank_agreement(study)) > 1}
        if not found:
            continue
        figure, axes = style.canvas()
        for name, tau in found.items():
            axes.plot(tau.index, tau, color=material.marks[name].colour, linewidth=0.9, alpha=0.6)
        median = pd.DataFrame(found).median(axis=1)
        axes.plot(median.index, median, color=style.INK, linewidth=2.4)
        compared = rungs(material.plans.suites.get(group[0].cell.suite, {}))
        for epoch in compared:
            axes.axvline(epoch, **style.REFERENCE)
        limit(axes, "y", np.concatenate([[1.0], *(tau.to_numpy() for tau in found.values())]), 0.05)
        axes.set(xlabel="epoch", ylabel="Kendall's τ with the last epoch")
        style.integers(axes)
        counts = [len(study.complete) for study in group if study.cell.method in found]
        each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
        yield style.Figure(
            _name("rank-agreement", group),
            f"{_title(group)}: did early ranks hold?",
            "Rank correlation of the complete trials' validation accuracy at an epoch with that of the"
            " last one:"
            f" each method ({each} complete trials; pruned ones have no end to compare with) and, bold, their"
            " median." + (" Dashed: rungs at which trials were compared." if compared else ""),
            f"median {median.iloc[0]:.2f} at epoch {median.index[0]}",
            figure,
        )
