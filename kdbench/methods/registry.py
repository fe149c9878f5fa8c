"""Methods by their labels: what there is, what a label's hyperparameters are, and making one from values.

A label is a registered name or a composition `a+b`; everything here takes both.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.errors import Mistake, RangeError, UserError, mistake
from kdbench.methods.compose import Composition, Member
from kdbench.methods.contract import Method, Need, Network, Scalar, _registry


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter of a method as lists and documents show it."""

    name: str  # public: prefixed by its method where a composition has two of that name (`fsp.beta`)
    type: type[float] | type[int] | type[str]
    default: Scalar
    comment: str  # its range, its unit and what it does


def names() -> tuple[str, ...]:
    """Every registered method, sorted; compositions are not registered."""
    return tuple(sorted(_registry))


def members(label: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """The methods in a label, each with its hyperparameters that count: (method, {own name: public name}).

    All of the first-named method's count; of the others those in `extra`. Raises UserError (key "method") for
    an unknown method and for a composition that cannot be.
    """
    parts = label.split("+")
    unknown = [
        mistake("method", part, "a method: " + ", ".join(names()), names=names())
        for part in parts
        if part not in _registry
    ]
    if unknown:
        raise UserError(unknown)
    classes = [_registry[part] for part in parts]
    reason = _cannot_compose(parts, classes)
    if reason:
        raise UserError([mistake("method", label, reason)])
    taken: set[str] = set()
    found: list[tuple[str, dict[str, str]]] = []
    for part, cls in zip(parts, classes, strict=True):
        own = cls.extra if found else tuple(field.name for field in dataclasses.fields(cls))
        found.append((part, {name: f"{part}.{name}" if name in taken else name for name in own}))
        taken.update(own)
    return tuple(found)


def hyperparameters(label: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of a label by public name, in the order of their declaration."""
    found = {}
    for part, public in members(label):
        fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(_registry[part])}
        for own, name in public.items():
            default = fields[own].default
            found[name] = Hyperparameter(
                name, type(default), default, fields[own].metadata.get("comment", "")
            )
    return found


def resolve(label: str, values: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
    """A value for every hyperparameter of `label`: its default or the one in `values`, of its declared type.

    Raises UserError with every mistake: unknown names, wrong types, values out of range.
    """
    resolved, mistakes = _overlay(label, values or {})
    for part, public in members(label):
        try:
            _instance(part, public, resolved)
        except RangeError as error:
            mistakes.append(mistake(error.key, error.given, error.allowed))
    if mistakes:
        raise UserError(mistakes)
    return resolved


def make(label: str, values: Mapping[str, Scalar] | None = None) -> Method:
    """The method `label` with `values` over its defaults.

    Raises UserError for unknown names and wrong types, RangeError (key: the public name) for a value out of
    range.
    """
    resolved, mistakes = _overlay(label, values or {})
    if mistakes:
        raise UserError(mistakes)
    made = tuple(Member(part, _instance(part, public, resolved), public) for part, public in members(label))
    return made[0].method if len(made) == 1 else Composition(made)


def get(label: str) -> Method:
    """The method `label` at its defaults, for what it declares: teacher, needs, fixed, published, source."""
    return make(label)


def check(label: str, student: Network, teacher: Network | None) -> str | None:
    """Why this pair cannot run `label`, in words; None if it can. `teacher` is None where none is planned."""
    method = get(label)
    if method.teacher == "pair" and teacher is None:
        return "it needs a teacher and the pair has none"
    if teacher is not None and teacher.classes != student.classes:
        return f"{teacher.name} tells {teacher.classes} classes apart, {student.name} {student.classes}"
    networks = [student] if teacher is None or method.teacher == "none" else [student, teacher]
    for need in sorted(method.needs):
        lacking = dict.fromkeys(network.name for network in networks if not _MEETS[need](network))
        if lacking:
            return f"it needs {_WORDS[need]}; missing in {' and '.join(lacking)}"
    return method.refuses(student, teacher)


def _maps(network: Network) -> bool:
    return all(len(shape) == 3 for shape in network.features)


_MEETS: Mapping[Need, Callable[[Network], bool]] = {
    "maps": _maps,
    "stages": lambda network: len(network.features) > 2,  # the stem and at least two stages
    "exits": lambda network: len(network.features) > 2,
    "three-classes": lambda network: network.classes > 2,
}
_WORDS: Mapping[Need, str] = {
    "maps": "feature maps",
    "stages": "at least two stages",
    "exits": "at least two stages to put exits on",
    "three-classes": "more than two classes",
}


def _cannot_compose(parts: list[str], classes: list[type[Method]]) -> str | None:
    if len(set(parts)) < len(parts):
        return "each method once in a composition"
    needs = {cls.teacher for cls in classes} - {"none"}
    if len(needs) > 1:
        return (
            "methods that distil the same teacher; these mix the pair's and the student's earlier generation"
        )
    for part, cls in zip(parts[1:], classes[1:], strict=True):
        if cls.prepare is not Method.prepare:
            return f"{part} in the first place only: it is a chain of trainings, not a term to add to one"
        if not cls.extra:
            return f"after a + a method that adds something to a task loss; {part} is nothing but a task loss"
    return None


def _overlay(label: str, values: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], list[Mistake]]:
    """The defaults under those of `values` that have a right name and type; what is wrong with the rest."""
    known = hyperparameters(label)
    allowed = f"a hyperparameter of {label}: {', '.join(known) or 'it has none'}"
    mistakes = [mistake(name, name, allowed, names=known) for name in values if name not in known]
    resolved: dict[str, Scalar] = {}
    for name, parameter in known.items():
        value = _typed(values[name], parameter.type) if name in values else parameter.default
        if value is None:
            mistakes.append(mistake(name, values[name], f"a value of type {parameter.type.__name__}"))
        resolved[name] = parameter.default if value is None else value
    return resolved, mistakes


def _instance(part: str, public: Mapping[str, str], resolved: Mapping[str, Scalar]) -> Method:
    """One member with its share of the values. Raises RangeError under the public name."""
    try:
        return _registry[part](**{own: resolved[name] for own, name in public.items()})
    except RangeError as error:
        raise RangeError(public.get(error.key, error.key), error.allowed, error.given) from None


def _typed(value: object, kind: type[float] | type[int] | type[str]) -> Scalar | None:
    """`value` as `kind` (an int is a float, a whole float an int); None where it is no such value."""
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is int:
        return int(value) if math.isfinite(value) and float(value).is_integer() else None
    return float(value)
