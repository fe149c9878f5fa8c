"""Names written beside lines and points, so that no legend has to be looked up and no two names overlap."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from kdbench.report.style import Marks

HEIGHT, WIDTH = 11.0, 5.0  # of a line of text and of a character, in points, at the size used here
SIZE = 8.5
Point = tuple[float, float]


def at_ends(axes: Axes, ends: Mapping[str, Point], marks: Marks) -> None:
    """Write each line's name right of its last point (x, y). The axis limits must stand already."""
    if not ends:
        return
    low, high = axes.get_ylim()
    step = (high - low) * HEIGHT / (axes.bbox.height * _points(axes))
    ordered = sorted(ends, key=lambda name: (ends[name][1], name))
    wanted = [min(max(ends[name][1], low), high) for name in ordered]
    right = max(x for x, _ in ends.values())
    for name, place in zip(ordered, spread(wanted, step), strict=True):
        axes.annotate(
            name,
            (right, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=SIZE,
            color=marks[name].text,
            annotation_clip=False,
        )


def spread(wanted: Sequence[float], step: float) -> list[float]:
    """Places at least `step` apart, in the order of `wanted` (rising), groups centred on what they wanted."""
    groups: list[list[float]] = []  # what the members of each group wanted
    for place in wanted:
        groups.append([place])
        while len(groups) > 1 and _bottom(groups[-1], step) < _bottom(groups[-2], step) + step * len(
            groups[-2]
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_bottom(group, step) + step * index for group in groups for index in range(len(group))]


def _bottom(group: Sequence[float], step: float) -> float:
    return sum(group) / len(group) - step * (len(group) - 1) / 2


def beside_points(axes: Axes, points: Mapping[str, Point], marks: Marks) -> None:
    """Write each point's name where it covers no point and no other name; leave out those without a place."""
    scale = _points(axes)
    places = {name: axes.transData.transform(point) * scale for name, point in points.items()}
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in places.values()]
    for name, (x, y) in places.items():
        width = WIDTH * len(name)
        for dx, dy in ((5, 3), (5, -12), (-5 - width, 3), (-5 - width, -12), (6, -4), (-width / 2, 5)):
            box = (x + dx, y + dy, x + dx + width, y + dy + HEIGHT - 2)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    name,
                    points[name],
                    (dx, dy + 2),
                    textcoords="offset points",
                    fontsize=SIZE,
                    color=marks[name].text,
                    annotation_clip=False,
                )
                break


def _points(axes: Axes) -> float:
    """Points per pixel."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - for mypy; every panel here has one
    return float(72 / figure.dpi)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
