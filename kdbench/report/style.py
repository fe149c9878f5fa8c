"""One look for every figure: colours that colour-blind readers can tell apart, and a mark per method that stays.

A method has the same colour, marker and line style in every figure and swatch of a report; marker and line style alone
tell methods apart in greyscale. Inlined in the page, the colours become CSS variables, so that a figure follows the
page's light or dark theme; in the files they are the light ones.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

INK, FAINT, PAPER = "#1c2024", "#c9ced6", "#fdfefe"
# Okabe and Ito's palette without black and yellow, two of them a little darker for lines on white; (light, dark).
COLOURS = (
    ("#0072b2", "#5ab4ee"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fcf9f"),
    ("#c0568f", "#e58fc0"),
    ("#a87900", "#e6b422"),
    ("#3a9bd5", "#8fd3ff"),
)
VARIABLES = {INK: "--ink", FAINT: "--faint", PAPER: "--paper"} | {
    light: f"--c{index}" for index, (light, _) in enumerate(COLOURS)
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # 7 markers and 6 colours: 42 pairs before one comes again
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
HIGHLIGHTED = 8  # methods drawn in colour and named in line figures; more would be a tangle

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "kdbench",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a method's label is text, whatever stands in it
}


@dataclass(frozen=True)
class Mark:
    """How a method is drawn."""

    colour: str
    marker: str
    line: Any

    @property
    def point(self) -> dict[str, Any]:
        """Arguments of a marker without a line."""
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}

    @property
    def path(self) -> dict[str, Any]:
        """Arguments of a line with markers."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


Marks = Mapping[str, Mark]


def marks(methods: Iterable[str], baseline: str) -> dict[str, Mark]:
    """A mark for every method of a report, by the order of their names; the baseline is drawn in ink."""
    others = sorted(set(methods) - {baseline})
    made = {
        name: Mark(COLOURS[index % 6][0], MARKERS[index % 7], LINES[index % 4])
        for index, name in enumerate(others)
    }
    return {baseline: Mark(INK, "o", (0, (3, 2)))} | made


@dataclass(frozen=True)
class Figure:
    """One drawing: its file name, what it shows, and how to say it without looking."""

    name: str  # file stem
    title: str
    caption: str
    alt: str
    canvas: Canvas


def canvas(width: float = 5.4, height: float = 3.5) -> tuple[Canvas, Axes]:
    """An empty figure of one panel in kdbench's look (inches)."""
    figure, axes = grid(1, 1, width, height)
    return figure, axes[0]


def grid(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, Sequence[Axes]]:
    """An empty figure of several panels, row by row."""
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def look() -> AbstractContextManager[None]:
    """The context in which figures are drawn and saved; matplotlib's own settings come back after it."""
    context: AbstractContextManager[None] = mpl.rc_context(_RC)
    return context


def logarithmic(axes: Axes, axis: str) -> None:
    """A logarithmic axis with plain numbers at its ticks."""
    axes.set(**{f"{axis}scale": "log"})
    which = axes.xaxis if axis == "x" else axes.yaxis
    which.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=7))
    which.set_major_formatter(lambda value, _: f"{value:g}")
    which.set_minor_formatter(NullFormatter())


def save(figure: Figure, folder: Path) -> str:
    """Write `<name>.svg` and `<name>.pdf`; returns the SVG for the page (see `inline`)."""
    buffer = io.StringIO()
    figure.canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    figure.canvas.savefig(folder / f"{figure.name}.pdf", metadata={"CreationDate": None, "Creator": None})
    svg = buffer.getvalue()
    (folder / f"{figure.name}.svg").write_text(svg, encoding="utf-8")
    return inline(svg, figure.name)


def inline(svg: str, name: str) -> str:
    """An SVG file's text as part of a page: no prolog or metadata, ids of its own, the theme's colours and fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{name}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', _responsive, svg, count=1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _responsive(match: re.Match[str]) -> str:
    return f'<svg {match[1]}style="max-width:{float(match[2]) * 1.3:.0f}px" aria-hidden="true"'


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], marks_: Marks) -> None:
    """Write each line's name right of its last point (x, y), moved apart so that no two overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    step = (high - low) * 0.052
    ordered = sorted(ends, key=lambda name: ends[name][1])
    places: list[float] = []
    for name in ordered:
        places.append(max(ends[name][1], places[-1] + step) if places else ends[name][1])
    overshoot = places[-1] - high
    for index in range(len(places) - 1, -1, -1):  # push down what has left the panel
        limit = high if index == len(places) - 1 else places[index + 1] - step
        places[index] = min(places[index], limit) if overshoot > 0 else places[index]
    right = max(x for x, _ in ends.values())
    for name, place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            (right, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=marks_[name].colour,
            annotation_clip=False,
        )


def label_points(axes: Axes, points: Mapping[str, tuple[float, float]], marks_: Marks) -> None:
    """Write each point's name beside it."""
    for name, place in points.items():
        axes.annotate(
            name,
            place,
            (5, 4),
            textcoords="offset points",
            fontsize=7.5,
            color=marks_[name].colour,
            annotation_clip=False,
        )


def cell(column: int, row: int, box: Mapping[str, Any]) -> Rectangle:
    """A unit square around (column, row), for a table drawn as a figure."""
    return Rectangle((column - 0.5, row - 0.5), 1, 1, **box)
