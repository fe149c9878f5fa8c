"""Figures over several pairs and data sets: an overall ranking of gains, and who differs from whom."""

from collections.abc import Iterator

from kdbench.report import style
from kdbench.report.figures import comparison
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES
from kdbench.report.material import Material


def overall(material: Material) -> Iterator[style.Figure]:
    """Interquartile mean of the gains over the baseline, over all blocks."""
    found = material.overall
    if found is None:
        return
    table = found.table
    figure, axes = style.canvas(5.4, comparison.height(len(table)))
    for place, row in enumerate(records(table)):
        mark = material.marks[row["method"]]
        axes.plot([row["low"], row["high"]], [place, place], color=mark.colour, linewidth=2.2)
        axes.plot(row["gain"], place, **mark.point, ms=6.5)
    axes.axvline(0, **style.REFERENCE)
    comparison.rows(axes, list(table["method"]), f"gain over {BASELINES[0]}, interquartile mean")
    yield style.Figure(
        "overall-gain",
        f"Gain over {BASELINES[0]} across {found.blocks} blocks",
        "Interquartile mean over all seeds and blocks with a 95 % stratified bootstrap interval; methods that"
        " are complete in every block.",
        "; ".join(f"{row['method']} {row['gain']:+.2%}" for row in records(table)),
        figure,
    )


def critical_difference(material: Material) -> Iterator[style.Figure]:
    """Mean ranks over blocks; a bar joins methods that Nemenyi's test does not separate."""
    test = material.rank_test
    if test is None:
        return
    from scikit_posthocs import critical_difference_diagram

    figure, axes = style.canvas(6.4, 1.2 + 0.2 * len(test.ranks))
    axes.grid(visible=False)
    critical_difference_diagram(
        test.ranks,
        test.pairwise,
        ax=axes,
        color_palette={name: material.marks[name].colour for name in test.ranks.index},
        label_fmt_left="{label} ({rank:.2f})  ",
        label_fmt_right="  ({rank:.2f}) {label}",
        text_h_margin=0.3,
        crossbar_props={"color": style.INK, "marker": None, "linewidth": 2.5},
        elbow_props={"linewidth": 0.9},
    )
    yield style.Figure(
        "critical-difference",
        f"Mean ranks over {test.blocks} blocks",
        f"1 = best. A bar joins methods that are not separated (Nemenyi, 5 %; Friedman's p = {test.p:.3g}).",
        "; ".join(f"{name} {rank:.2f}" for name, rank in test.ranks.sort_values().items()),
        figure,
    )
