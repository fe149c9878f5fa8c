"""What pydantic found wrong, as Mistakes: dotted key, what was given, what is allowed, the nearest name."""

import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kdbench.errors import Mistake, RangeError, mistake
from kdbench.suite.schema import Suite
from kdbench.training.recipe import Recipe

_RECIPE = TypeAdapter(Recipe)
_LONGEST = 100


def of_suite(error: ValidationError, raw: Mapping[str, Any], file: str) -> Iterator[Mistake]:
    """One Mistake per key of `raw`, the suite in normal form, in the order found."""
    found: dict[tuple[str | int, ...], ErrorDetails] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_path(details, raw), details)
    for path, details in found.items():
        if not any(
            other[: len(path)] == path for other in found if other != path
        ):  # else a part of it is at fault
            yield _mistake(details, path, ".".join(map(str, path)), file)


def of_recipe(raw: Mapping[str, Any], prefix: str, file: str) -> Iterator[Mistake]:
    """Everything wrong with the recipe `raw`: each key by itself, then those that contradict each other."""
    whole = True
    for key, value in raw.items():
        for found in _recipe_errors({key: value}, prefix, file):
            if found.key == f"{prefix}.{key}" or found.key.startswith(f"{prefix}.{key}."):
                whole = False
                yield found
    if whole:
        yield from _recipe_errors(raw, prefix, file)


def short(value: Any) -> str:
    """`value` as a message shows it."""
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _recipe_errors(raw: Mapping[str, Any], prefix: str, file: str) -> Iterator[Mistake]:
    try:
        _RECIPE.validate_json(json.dumps(raw))
    except ValidationError as error:
        seen = set()
        for details in error.errors(include_url=False):
            cause = details.get("ctx", {}).get("error")
            if isinstance(cause, RangeError):
                yield Mistake(f"{prefix}.{cause.key}", short(cause.given), cause.allowed, file)
            elif details["loc"][0] not in seen:
                seen.add(details["loc"][0])
                yield _recipe_mistake(details, f"{prefix}.{details['loc'][0]}", file)


def _recipe_mistake(details: ErrorDetails, key: str, file: str) -> Mistake:
    names = tuple(typing.get_type_hints(Recipe))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = tuple(name for name in names if not name.startswith("_"))
        return mistake(key, key.rpartition(".")[2], f"one of {', '.join(known)}", file=file, names=known)
    expected = _expected(details)
    given = details["input"]
    allowed = " | ".join(expected) if expected else _in_words(details)
    return mistake(key, given, allowed, file=file, names=expected)


def _mistake(details: ErrorDetails, path: tuple[str | int, ...], key: str, file: str) -> Mistake:
    parent, field = _field(path)
    if details["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in parent.model_fields.items()]
        return mistake(key, path[-1], f"one of {', '.join(known)}", file=file, names=known)
    described = _item_description(field) if isinstance(path[-1], int) else None
    allowed = described or (field.description if field else None) or _in_words(details)
    if details["type"] == "missing":
        return Mistake(key, "nothing", allowed, file)
    nearest = mistake(key, details["input"], allowed, names=_expected(details)).nearest
    return Mistake(key, short(details["input"]), allowed, file, nearest)


def _path(details: ErrorDetails, raw: Any) -> tuple[str | int, ...]:
    """The error's location without the names of union members that pydantic puts between the keys."""
    path: list[str | int] = []
    node: Any = raw
    for step in details["loc"]:
        inside = isinstance(node, Mapping) and step in node
        inside = inside or (isinstance(node, list) and isinstance(step, int) and step < len(node))
        if inside:
            node = node[step]
            path.append(step)
    if details["type"] == "missing":
        path.append(details["loc"][-1])
    return tuple(path)


def _field(path: tuple[str | int, ...]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The model that the last key of `path` belongs to, and its field there (None for an unknown key)."""
    model: type[BaseModel] = Suite
    owner, field = model, None
    for step in path:
        if isinstance(step, int):
            continue
        owner = model
        field = next((item for name, item in model.model_fields.items() if step in (name, item.alias)), None)
        if field is None:
            break
        model = _model_in(field.annotation) or model
    return owner, field


def _item_description(field: FieldInfo | None) -> str | None:
    """What is said of one item of a list."""
    for item in typing.get_args(field.annotation) if field else ():
        for more in getattr(item, "__metadata__", ()):
            if isinstance(more, FieldInfo) and more.description:
                return more.description
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _expected(details: ErrorDetails) -> list[str]:
    """The words that a Literal allows."""
    words = str(details.get("ctx", {}).get("expected", ""))
    return words.replace("'", "").replace(" or ", ", ").split(", ") if words else []


def _in_words(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return (
        message.replace("an object", "a mapping").replace("a valid ", "a ").replace("a integer", "an integer")
    )
