"""Figures of the search: how fast it got where, what mattered, whether stopping early was safe."""

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np

from kdbench.report import statistics, style
from kdbench.report.figures.comparison import others, percent
from kdbench.report.material import Material, highlighted
from kdbench.report.searches import IMPORTANCE_TRIALS, OBJECTIVE, Study, file_stem, importance, rank_agreement

Group = list[Study]
SLICES = 4  # hyperparameters per method in a slice figure


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
    return f"{cell.pair.replace('->', '→')}, {cell.fraction:.0%} of the training data"


def expected(material: Material) -> Iterator[style.Figure]:
    """Expected validation performance against the number of trials."""
    for group in groups(material):
        unbiased = material.plans.unbiased(group[0].cell.suite)
        label = (
            "An unbiased estimate for this random search without early stopping."
            if unbiased
            else "Descriptive: the trials were not independent draws (adaptive sampler or early stopping)."
        )
        caption = (
            "Expected best validation accuracy of k trials drawn from the study's. A pruned, diverged or failed trial"
            f" counts as 0, lower than any complete one. {label}"
        )
        yield from _progress(
            material, group, "expected", lambda s: statistics.expected_best(s.values), caption
        )


def so_far(material: Material) -> Iterator[style.Figure]:
    """Best complete trial so far, in the order in which the trials were asked for."""
    caption = (
        "Validation accuracy of the best complete trial so far, by the order in which trials were asked for."
    )
    for group in groups(material):
        yield from _progress(material, group, "best-so-far", lambda study: study.best_so_far, caption)


def _progress(
    material: Material, group: Group, kind: str, curve: Callable[[Study], np.ndarray], caption: str
) -> Iterator[style.Figure]:
    curves = {
        study.cell.method: curve(study) for study in group if len(study.complete) and len(study.trials) > 1
    }
    if not curves:
        return
    shown = highlighted(list(curves))
    figure, axes = style.canvas()
    for name in sorted(curves, key=shown.__contains__):
        values = curves[name]
        trials = np.arange(1, len(values) + 1)
        if name in shown:
            axes.plot(trials, values, **material.marks[name].path, markevery=max(1, len(values) // 8))
        else:
            axes.plot(trials, values, color=style.FAINT, linewidth=0.8, zorder=1)
    final = np.concatenate([curves[name][-max(1, len(curves[name]) // 2) :] for name in shown])
    low, high = np.nanmin(final), np.nanmax(final)
    room = max(high - low, 0.002)
    axes.set(ylim=(low - 0.35 * room, high + 0.15 * room), xlabel="trials", ylabel="validation accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(percent())
    style.label_ends(axes, {name: (len(curves[name]), curves[name][-1]) for name in shown}, material.marks)
    words = {"expected": "expected validation performance", "best-so-far": "best so far"}[kind]
    yield style.Figure(
        _name(kind, group),
        f"{_title(group)}: {words}",
        caption + others(len(curves), len(shown)),
        "; ".join(f"{name} reaches {curves[name][-1]:.2%} after {len(curves[name])}" for name in shown),
        figure,
    )


def importances(material: Material) -> Iterator[style.Figure]:
    """Which hyperparameters explain how much of a search's outcome: methods by hyperparameters."""
    for group in groups(material):
        shares = {
            study.cell.method: found
            for study in group
            if (found := importance(study, material.plans.spaces.get(study.cell)))
        }
        if not shares:
            continue
        totals: dict[str, float] = {}
        for share in shares.values():
            for name, value in share.items():
                totals[name] = totals.get(name, 0.0) + value
        names = sorted(totals, key=lambda name: -totals[name])
        figure, axes = style.canvas(1.6 + 0.62 * len(names), 1.1 + 0.27 * len(shares))
        axes.grid(visible=False)
        for place, share in enumerate(shares.values()):
            for column, name in enumerate(names):
                if name in share:
                    box = {
                        "facecolor": style.COLOURS[0][0],
                        "alpha": 0.06 + 0.5 * share[name],
                        "edgecolor": "none",
                    }
                    axes.text(column, place, f"{share[name]:.0%}", ha="center", va="center", fontsize=8)
                    axes.add_patch(style.cell(column, place, box))
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(shares)), list(shares))
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(shares) - 0.5, -0.5))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        yield style.Figure(
            _name("importance", group),
            f"{_title(group)}: what mattered",
            "Share of the variance of validation accuracy that each hyperparameter explains (fANOVA over complete"
            f" trials; studies with fewer than {IMPORTANCE_TRIALS} of them are left out). A sampler that favours good"
            " regions makes these shares those of the regions it visited.",
            "; ".join(
                f"{method}: {max(share, key=lambda n: share[n])} first" for method, share in shares.items()
            ),
            figure,
        )


def slices(material: Material) -> Iterator[style.Figure]:
    """Validation accuracy of the trials against each of the most spread hyperparameters, method by method."""
    for group in groups(material):
        shown = highlighted([study.cell.method for study in group])
        for study in group:
            if study.cell.method in shown and len(study.complete) >= 3:
                yield from _slice(material, study)


def _slice(material: Material, study: Study) -> Iterator[style.Figure]:
    space = material.plans.spaces.get(study.cell) or {}
    params = study.trials["params"].tolist()
    names = [
        name
        for name in (space or params[0])
        if len({trial.get(name) for trial in params}) > 1 and not isinstance(params[0].get(name), str)
    ]
    share = importance(study, space)
    names = sorted(names, key=lambda name: (-share.get(name, 0.0), name))[:SLICES]
    if not names:
        return
    figure, panels = style.grid(1, len(names), 1.0 + 1.75 * len(names), 2.4)
    mark = material.marks[study.cell.method]
    complete = study.trials.index.isin(study.complete.index)
    last = study.trials[OBJECTIVE].to_numpy(dtype=float)
    for axes, name in zip(panels, names, strict=True):
        values = np.array([float(trial.get(name, np.nan)) for trial in params])
        axes.plot(values[~complete], last[~complete], "x", color=style.FAINT, markersize=4)
        axes.plot(values[complete], last[complete], **mark.point, alpha=0.85)
        domain = space.get(name)
        positive = np.nanmin(values) > 0 and np.nanmax(values) / np.nanmin(values) >= 100
        if (domain["scale"] == "log") if domain else positive:
            style.logarithmic(axes, "x")
        axes.set_xlabel(name)
        axes.yaxis.set_major_formatter(percent())
        axes.sharey(panels[0])
    panels[0].set_ylabel("validation accuracy")
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    cell = study.cell
    yield style.Figure(
        "-".join(map(file_stem, ("slice", cell.suite, cell.pair, f"{cell.fraction:g}", cell.method))),
        f"{cell.method}: trials ({_title([study])})",
        "Complete trials; crosses: pruned, diverged or failed ones at their last validation.",
        f"{len(study.complete)} complete of {len(study.trials)} trials",
        figure,
    )


def agreements(material: Material) -> Iterator[style.Figure]:
    """Whether a trial's rank at an epoch told its rank at the end: a check on early stopping."""
    for group in groups(material):
        found = {study.cell.method: tau for study in group if len(tau := rank_agreement(study))}
        if not found:
            continue
        shown = highlighted(list(found))
        figure, axes = style.canvas()
        for name in shown:
            axes.plot(found[name].index, found[name], **material.marks[name].path)
        milestones = _rungs(material, group[0])
        for epoch in milestones:
            axes.axvline(epoch, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set(ylim=(-1.05, 1.05), xlabel="epoch", ylabel="Kendall's τ with the last epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        style.label_ends(axes, {n: (found[n].index[-1], found[n].iloc[-1]) for n in shown}, material.marks)
        counts = [len(study.complete) for study in group if study.cell.method in found]
        yield style.Figure(
            _name("rank-agreement", group),
            f"{_title(group)}: did early ranks hold?",
            "Rank correlation of the complete trials' validation accuracy at an epoch with that of the last epoch"
            f" ({min(counts)}–{max(counts)} complete trials per method; pruned ones have no end to compare with)."
            + (" Dashed: rungs at which trials were compared." if milestones else "")
            + others(len(found), len(shown)),
            "; ".join(f"{name} {found[name].iloc[0]:.2f} at epoch {found[name].index[0]}" for name in shown),
            figure,
        )


def _rungs(material: Material, study: Study) -> list[int]:
    suite = material.plans.suites.get(study.cell.suite, {})
    search, epochs = suite.get("search", {}), suite.get("training", {}).get("epochs", 0)
    if search.get("scheduler") != "asha" or not epochs:
        return []
    rungs = [search["grace_epochs"]]
    while rungs[-1] * search["reduction_factor"] < epochs:
        rungs.append(rungs[-1] * search["reduction_factor"])
    return rungs
