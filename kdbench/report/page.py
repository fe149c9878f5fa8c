"""The page: everything put into one HTML file that needs no network."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kdbench import resources
from kdbench.report import appendix, behind, evaluations, provenance, style, views
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.plans import Cell
from kdbench.report.verdict import COVERS


@dataclass(frozen=True)
class Drawing:
    """A figure as the page shows it."""

    figure: style.Figure
    svg: Markup


Drawings = Mapping[str, Sequence[Drawing]]  # section -> its figures


def draw(material: Material, folder: Path | None) -> Drawings:
    """Draw every figure; write its files into `folder`, where there is one."""
    from kdbench.report.figures import SECTIONS

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with style.look():
        return {
            section: [
                # matplotlib has escaped the text in its own SVG.
                Drawing(figure, Markup(style.save(figure, folder)))
                for make in makers
                for figure in make(material)
            ]
            for section, makers in SECTIONS.items()
        }


def render(
    material: Material,
    drawings: Drawings,
    configs: Mapping[Cell, Path],
    out: Path,
    *,
    title: str,
    links: Links,
    files: bool,
) -> str:
    """The page's HTML."""
    across, across_words = appendix.across(material)
    families = [
        [views.board_view(board, material, links) for board in family] for family in material.families
    ]
    environment = Environment(
        loader=FileSystemLoader(resources.path("reports/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.jinja").render(
        title=title,
        totals=provenance.totals(material),
        left_out=material.runs.left_out,
        notes=material.plans.notes,
        covers=COVERS,
        families=families,
        drawings=drawings,
        beside=_beside(drawings["leaderboards"]),
        fractions=appendix.fractions(material, links),
        search=appendix.search(material, configs, out, links),
        crossings=appendix.crossings(material, links),
        unexplained=appendix.unexplained(material),
        evaluations=evaluations.evaluations(material, links),
        across=across,
        across_words=across_words,
        provenance=provenance.table(material, links),
        launches=provenance.launches(material, links),
        runs=behind.run_lists(material.boards, material, links),
        linked=links.base is not None,
        files=files,
        swatches={name: swatch(mark) for name, mark in material.marks.items()},
        palette=style.PALETTE,
        until=_until(material),
    )


def _beside(drawings: Sequence[Drawing]) -> dict[Hashable, list[Drawing]]:
    """The figures that stand beside each leaderboard."""
    found: dict[Hashable, list[Drawing]] = {}
    for drawing in drawings:
        found.setdefault(drawing.figure.of, []).append(drawing)
    return found


def swatch(mark: style.Mark) -> Markup:
    """A method's line and marker as a small drawing beside its name."""
    colour = f"var({style.VARIABLES[mark.colour]})"
    dashes = (
        ""
        if mark.line == "-"
        else f' stroke-dasharray="{" ".join(str(1.6 * part) for part in mark.line[1])}"'
    )
    return Markup(
        '<svg class="swatch" viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
        f'<g fill="{colour}" stroke="{colour}"><path d="M0 6H28" stroke-width="1.8"{dashes}/>'
        f'<path d="{_SHAPES[mark.marker]}" stroke="none"/></g></svg>'
    )


_SHAPES = {
    "o": "M14 2a4 4 0 1 1 0 8a4 4 0 1 1 0-8z",
    "s": "M10.4 2.4h7.2v7.2h-7.2z",
    "^": "M14 1.4L18.4 9.4H9.6z",
    "D": "M14 1L19 6L14 11L9 6z",
    "v": "M14 10.6L18.4 2.6H9.6z",
    "P": "M12.6 1.6h2.8v3h3v2.8h-3v3h-2.8v-3h-3V4.6h3z",
    "X": "M11 1.6L14 4.4L17 1.6L18.6 3.2L15.6 6L18.6 8.8L17 10.4L14 7.6L11 10.4L9.4 8.8L12.4 6L9.4 3.2z",
}


def _until(material: Material) -> str:
    """When the newest run ended; the page carries no other date, so that equal runs make an equal page."""
    ended = pd.to_numeric(material.runs.runs["end_time"], errors="coerce").max()
    return "" if pd.isna(ended) else f"{pd.Timestamp(ended, unit='ms'):%Y-%m-%d %H:%M} UTC"
