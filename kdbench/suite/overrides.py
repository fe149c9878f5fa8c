"""A suite's `spaces:` as Overrides, checked against the methods and the shared search space."""

from collections.abc import Iterator, Mapping
from typing import Any

from kdbench import methods
from kdbench.errors import Mistake, RangeError, UserError, mistake
from kdbench.methods.contract import Scalar
from kdbench.search import spaces
from kdbench.search.domain import Override

Overrides = dict[str, dict[str, Override]]


def parse(value: Any, labels: Mapping[str, str | None], shared: Mapping[str, Scalar], file: str) -> Overrides:
    """The replacements, keyed by label (or `_training`) and parameter.

    `labels` maps the suite's labels to their methods, None for an unknown one; `shared` holds the suite's own
    `lr` and `weight_decay`. Raises UserError with every mistake: an unknown label or parameter, a range that
    is none, does not fit the type or is refused by the method, a default that is missing or outside.
    """
    if not isinstance(value, Mapping):
        raise UserError([mistake("spaces", value, "a mapping of labels to {parameter: range}", file=file)])
    found: list[Mistake] = []
    parsed: Overrides = {}
    for label, entries in value.items():
        key = f"spaces.{label}"
        if label != spaces.SHARED and label not in labels:
            known = (*labels, spaces.SHARED)
            found.append(
                mistake(key, label, f"a label of this suite: {', '.join(known)}", file=file, names=known)
            )
        elif not isinstance(entries, Mapping):
            found.append(mistake(key, entries, "a mapping of parameters to ranges", file=file))
        elif label == spaces.SHARED or labels[label] is not None:
            method = labels.get(label)
            own = {} if method is None else methods.hyperparameters(method)
            defaults = {**{name: item.default for name, item in own.items()}, **shared}
            try:
                parsed[label] = dict(_entries(method, entries, defaults, key, file))
            except UserError as error:
                found.extend(error.mistakes)
    if found:
        raise UserError(found)
    return parsed


def _entries(
    method: str | None, entries: Mapping[str, Any], defaults: Mapping[str, Scalar], key: str, file: str
) -> Iterator[tuple[str, Override]]:
    found: list[Mistake] = []
    for name, value in entries.items():
        if name not in defaults:
            allowed = f"one of {', '.join(defaults)}"
            found.append(mistake(f"{key}.{name}", name, allowed, file=file, names=defaults))
            continue
        try:
            yield name, _override(method, name, value, defaults[name])
        except RangeError as error:
            where = ".".join(part for part in (key, name, error.key) if part)
            found.append(mistake(where, error.given, error.allowed, file=file))
    if found:
        raise UserError(found)


def _override(method: str | None, name: str, value: Any, default: Scalar) -> Override:
    given = None
    if isinstance(value, Mapping) and "default" in value:
        given = value["default"]
        value = {key: part for key, part in value.items() if key != "default"}
    domain = spaces.domain(value, default)
    spaces.refuse(method, name, domain)
    first = default if given is None else given
    if not spaces.fits(first, default) or not domain.contains(first):
        raise RangeError(
            "default", "a value inside the range" + (", required here" if given is None else ""), first
        )
    return Override(domain, given)
