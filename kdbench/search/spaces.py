"""What is searched: the files of search_spaces/ and what a suite puts in their place, as Domains."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdbench import methods, resources, yamlfile
from kdbench.errors import Mistake, RangeError, UserError, mistake, require
from kdbench.methods.contract import Scalar
from kdbench.search.domain import Domain, Override
from kdbench.training.recipe import Recipe

SHARED = "_training"  # the file, and the key of a suite's `spaces:`, of what all methods search
SHARED_NAMES = ("lr", "weight_decay")
FORMS = "{float: [low, high], scale: linear | log}, {int: [low, high]} or {categorical: […]}"
_FILE_KEYS = ("method", "why", "search")


@functools.cache
def training() -> Mapping[str, Domain]:
    """The ranges of `search_spaces/_training.yaml`: `lr` and `weight_decay`."""
    return _read(SHARED, {name: getattr(Recipe(), name) for name in SHARED_NAMES})


@functools.cache
def of_method(label: str) -> Mapping[str, Domain]:
    """The ranges of the own hyperparameters of a registered method or a composition, from its members' files.

    Raises UserError where a file is missing or wrong.
    """
    members = methods.members(label)
    if len(members) == 1:
        return _read(label, {name: item.default for name, item in methods.hyperparameters(label).items()})
    return {
        public: of_method(member)[own]
        for member, names in members
        for own, public in names.items()
        if own in of_method(member)
    }


def load(label: str, overrides: Mapping[str, Override]) -> dict[str, Domain]:
    """The whole search space of a method: its own ranges and the shared ones, with a suite's laid over them.

    `label` is a registered name or a composition; `overrides` are keyed by parameter.
    """
    return {**of_method(label), **training(), **{name: item.domain for name, item in overrides.items()}}


def domain(value: Any, default: Scalar) -> Domain:
    """The Domain that `{float: [low, high], scale: …}`, `{int: …}` or `{categorical: […]}` spells.

    `default` is the parameter's, whose type the range must fit. Raises RangeError (key: inside the range).
    """
    require(isinstance(value, Mapping), "", FORMS, value)
    kinds = [kind for kind in ("float", "int", "categorical") if kind in value]
    require(len(kinds) == 1, "", FORMS, value)
    unknown = [key for key in value if key not in (*kinds, "scale")]
    require(not unknown, unknown[0] if unknown else "", " | ".join((*kinds, "scale")), unknown)
    scale = value.get("scale", "linear")
    require(scale in ("linear", "log"), "scale", "linear | log", scale)
    return (
        _choices(value, default) if kinds == ["categorical"] else _interval(kinds[0], value, scale, default)
    )


def refuse(method: str | None, name: str, found: Domain) -> None:
    """Raise RangeError if the method, or the Recipe, refuses an end or a choice of `found`."""
    for value in found.choices or (found.low, found.high):
        if name in SHARED_NAMES:
            Recipe(**{name: value})  # type: ignore[arg-type]
        elif method is not None and value is not None:
            methods.make(method, {name: value})


def _choices(value: Mapping[str, Any], default: Scalar) -> Domain:
    choices = value["categorical"]
    require("scale" not in value, "scale", "only with float and int", value.get("scale"))
    fine = isinstance(choices, Sequence) and not isinstance(choices, str) and len(choices) > 0
    fine = fine and all(fits(item, default) for item in choices) and len(set(choices)) == len(choices)
    require(fine, "categorical", f"a list of different values such as {default!r}", choices)
    return Domain("categorical", choices=tuple(type(default)(item) for item in choices))


def _interval(kind: str, value: Mapping[str, Any], scale: str, default: Scalar) -> Domain:
    ends = value[kind]
    require(not isinstance(default, str), kind, "{categorical: […]} for a parameter that is a word", ends)
    require(
        kind == "float" or isinstance(default, int), kind, "{float: [low, high]} for this parameter", ends
    )
    require(kind == "int" or isinstance(default, float), kind, "{int: [low, high]} for this parameter", ends)
    fine = isinstance(ends, Sequence) and len(ends) == 2 and all(fits(end, default) for end in ends)
    require(fine and ends[0] < ends[1], kind, "[low, high], numbers with low < high", ends)
    require(scale == "linear" or ends[0] > 0, kind, "low > 0 where the scale is log", ends)
    if kind == "int":
        return Domain("int", low=ends[0], high=ends[1], scale="log" if scale == "log" else "linear")
    return Domain(
        "float", low=float(ends[0]), high=float(ends[1]), scale="log" if scale == "log" else "linear"
    )


def fits(value: Any, default: Scalar) -> bool:
    """Whether `value` may stand where `default` does; an integer may stand for a float."""
    if isinstance(value, bool):
        return False
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return type(value) is type(default)


def _read(label: str, defaults: Mapping[str, Scalar]) -> dict[str, Domain]:
    """The file `search_spaces/<label>.yaml`; `defaults` holds every hyperparameter of the method."""
    name = f"search_spaces/{label}.yaml"
    try:
        path = resources.path(name)
    except FileNotFoundError as error:
        raise UserError([Mistake("", "no such file", f"the search space of {label}", file=name)]) from error
    raw = yamlfile.read(path, what="a search space")
    file = str(path)
    found = [
        mistake(key, key, ", ".join(_FILE_KEYS), file=file, names=_FILE_KEYS)
        for key in raw
        if key not in _FILE_KEYS
    ]
    if raw.get("method") != label:
        found.append(mistake("method", raw.get("method"), label, file=file))
    space: dict[str, Domain] = {}
    searched = raw.get("search") or {}
    if not isinstance(searched, Mapping):
        raise UserError([mistake("search", searched, "a mapping of parameters to ranges", file=file)])
    for parameter, value in searched.items():
        key = f"search.{parameter}"
        if parameter not in defaults:
            found.append(mistake(key, parameter, f"one of {', '.join(defaults)}", file=file, names=defaults))
            continue
        try:
            space[parameter] = domain(value, defaults[parameter])
            refuse(None if label == SHARED else label, parameter, space[parameter])
            inside = space[parameter].contains(defaults[parameter])
            require(inside, "", f"a range with the default {defaults[parameter]!r} inside", value)
        except RangeError as error:
            found.append(
                Mistake(".".join(filter(None, (key, error.key))), repr(error.given), error.allowed, file)
            )
    if found:
        raise UserError(found)
    return space
