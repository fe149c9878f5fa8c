"""Cells and tables of the page: every number in words, with its sort key and where it leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell of a table on the page."""

    text: str
    sort: float | str = ""  # a text cell sorts, and is aligned, as text
    href: str | None = None
    title: str = ""
    note: str = ""  # a second, quieter line


@dataclass(frozen=True)
class Table:
    """A table on the page; the first column names its rows."""

    id: str
    caption: str
    head: Sequence[tuple[str, str]]  # (words, what they mean)
    rows: Sequence[Sequence[Cell]]
    swatches: bool = False  # the first column holds methods
    strong: Sequence[bool] = ()  # rows of the leading group
    facts: str = ""  # what stands behind the numbers


def missing(value: Any) -> bool:
    """Whether a cell has no value."""
    return value is None or (isinstance(value, float) and isnan(value))


def duration(seconds: float) -> str:
    """Device time in a readable unit."""
    if missing(seconds):
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def key(value: Any, last: float = -inf) -> float:
    """A sort key; cells without a value come last (or first, as `last` says)."""
    return last if missing(value) else float(value)


def decimals(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None or missing(value) else f"{value:.{digits}f}"


def thousands(value: float) -> str:
    """A count with thin spaces, or a dash."""
    return "–" if missing(value) else f"{value:,.0f}".replace(",", "\u202f")
