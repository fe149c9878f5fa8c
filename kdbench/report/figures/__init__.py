"""The report's figures. Every function gives the figures its data allow, which may be none."""

from collections.abc import Callable, Iterator

from kdbench.report.figures import across, beyond, comparison, protocols, search
from kdbench.report.material import Material
from kdbench.report.style import Figure

Maker = Callable[[Material], Iterator[Figure]]
# Section of the page -> the figures in it, in order.
SECTIONS: dict[str, tuple[Maker, ...]] = {
    "leaderboards": (comparison.leaderboards, comparison.default_and_tuned),
    "fractions": (comparison.accuracy_by_fraction, comparison.gain_by_fraction),
    "learning": (comparison.learning,),
    "search": (search.expected, search.so_far, search.importances, search.agreements),
    "slices": (search.slices,),
    "beyond": (
        beyond.cost,
        beyond.sizes,
        beyond.behaviour,
        beyond.exits,
        protocols.omitted,
        protocols.temperature,
        protocols.fixed_temperatures,
    ),
    "across": (across.overall, across.critical_difference),
}
