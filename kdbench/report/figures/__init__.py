"""The report's figures. Every function gives the figures its data allow, which may be none."""

from collections.abc import Callable, Iterator

from kdbench.report.figures import across, beyond, comparison, search
from kdbench.report.material import Material
from kdbench.report.style import Figure

# Section of the page -> the figures in it, in order.
SECTIONS: dict[str, tuple[Callable[[Material], Iterator[Figure]], ...]] = {
    "leaderboards": (comparison.leaderboards,),
    "fractions": (comparison.accuracy_by_fraction, comparison.gain_by_fraction),
    "learning": (comparison.learning,),
    "search": (
        comparison.default_and_tuned,
        search.expected,
        search.so_far,
        search.importances,
        search.slices,
        search.agreements,
    ),
    "beyond": (
        beyond.cost,
        beyond.sizes,
        beyond.behaviour,
        beyond.exits,
        beyond.omitted,
        beyond.temperature,
    ),
    "across": (across.overall, across.critical_difference),
}

__all__ = ["SECTIONS"]
