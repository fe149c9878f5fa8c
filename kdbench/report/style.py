"""One look for every figure: colours for colour-blind readers, and a mark per method that stays.

A method has the same colour, marker and line style in every figure and swatch of a report; marker and line
style alone
tell methods apart in greyscale. Inlined in the page, the colours become CSS variables, so that a figure
follows the page's light or dark theme; in the files they are the light ones.
"""

import io
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

INK, FAINT, PAPER = "#1c2024", "#c9ced6", "#fdfefe"
# (light, dark). Okabe and Ito's colours but black and yellow, some darker on white; purple and brown.
COLOURS = (
    ("#0072b2", "#5ab4ee"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fcf9f"),
    ("#c0568f", "#e58fc0"),
    ("#a87900", "#e6b422"),
    ("#3a9bd5", "#8fd3ff"),
    ("#7a5cc0", "#b8a2f5"),
    ("#8a4b2a", "#d9a07c"),
)


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances, 1 to 21 (WCAG 2)."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _legible(colour: str) -> str:
    """The colour for small text on paper: as dark as reading it takes."""
    while contrast(colour, PAPER) < 4.6:
        parts = (round(0.97 * int(colour[place : place + 2], 16)) for place in (1, 3, 5))
        colour = "#" + "".join(f"{part:02x}" for part in parts)
    return colour


TEXTS = {light: _legible(light) for light, _ in COLOURS}  # a method's name in its colour
# CSS variable -> (light, dark).
PALETTE = {f"--c{index}": pair for index, pair in enumerate(COLOURS)} | {
    f"--t{index}": (TEXTS[light], dark)
    for index, (light, dark) in enumerate(COLOURS)
    if TEXTS[light] != light
}
VARIABLES = {INK: "--ink", FAINT: "--faint", PAPER: "--paper"} | {
    light: name for name, (light, _) in PALETTE.items()
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # 7 markers and 8 colours: 56 pairs before one comes again
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
REFERENCE: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 0}
HIGHLIGHTED = 8  # methods drawn in colour and named in line figures; more would be a tangle

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
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
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
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
    def text(self) -> str:
        """The colour of its name."""
        return TEXTS.get(self.colour, self.colour)

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
        name: Mark(COLOURS[index % len(COLOURS)][0], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])
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
    of: Hashable = None  # the leaderboard's key it belongs beside


def canvas(width: float = 5.4, height: float = 3.5) -> tuple[Canvas, Axes]:
    """An empty figure of one panel in kdbench's look (inches)."""
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def panels(columns: int) -> tuple[Canvas, Sequence[Axes]]:
    """An empty figure of panels side by side, each with a scale of its own."""
    figure = Canvas(figsize=(0.4 + 3.2 * columns, 3.0), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False).flat)


def strip(columns: int) -> tuple[Canvas, Sequence[Axes]]:
    """An empty figure of small panels side by side; fixed places are quicker than a layout."""
    figure = Canvas(figsize=(1.0 + 1.7 * columns, 2.1))
    places = {"left": 0.16, "right": 0.98, "bottom": 0.24, "top": 0.97, "wspace": 0.08}
    return figure, list(figure.subplots(1, columns, squeeze=False, gridspec_kw=places).flat)


def look() -> AbstractContextManager[None]:
    """The context in which figures are drawn and saved; matplotlib's own settings come back after it."""
    context: AbstractContextManager[None] = mpl.rc_context(_RC)
    return context


def logarithmic(axes: Axes, axis: str) -> None:
    """A logarithmic axis with plain numbers at its ticks: every decade, and 1 and 3 where there are few."""
    axes.set(**{f"{axis}scale": "log"})
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    which = axes.xaxis if axis == "x" else axes.yaxis
    which.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < 50 else (1.0,), numticks=5))
    which.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e-"))
    which.set_minor_formatter(NullFormatter())


def integers(axes: Axes) -> None:
    """Whole numbers only at the ticks of the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def cap(axes: Axes, axis: str) -> None:
    """End an axis of shares at 100 %, with room for half a marker: there is nothing beyond."""
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    axes.set(**{f"{axis}lim": (low, min(high, 1 + 0.03 * (1 - low)))})


def percentages(axes: Axes, axis: str = "y") -> None:
    """Values up to 1 as per cent at the ticks of an axis. Names are put beside lines after this."""
    cap(axes, axis)
    which = axes.xaxis if axis == "x" else axes.yaxis
    which.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %".replace("-", "−"))


def save(figure: Figure, folder: Path | None) -> str:
    """Write `<name>.svg` and `<name>.pdf` into `folder`, if any; returns the SVG for the page (`inline`)."""
    buffer = io.StringIO()
    layout = figure.canvas.get_layout_engine()
    if layout is not None:  # lay the panels out once, for both files
        layout.execute(figure.canvas)
        figure.canvas.set_layout_engine("none")
    figure.canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    if folder is not None:
        figure.canvas.savefig(folder / f"{figure.name}.pdf", metadata={"CreationDate": None, "Creator": None})
        (folder / f"{figure.name}.svg").write_text(svg, encoding="utf-8")
    return inline(svg, figure.name)


def inline(svg: str, name: str) -> str:
    """An SVG file's text as part of a page: no prolog, ids of its own, the theme's colours."""
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
