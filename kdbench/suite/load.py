"""From a suite file, or the name of a built-in suite, to a Suite; all mistakes at once."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdbench import data, methods, resources, yamlfile
from kdbench.errors import Mistake, UserError, mistake
from kdbench.suite import checks, mistakes, overrides
from kdbench.suite.schema import TEACHER_EPOCHS, Suite

# For what is wholly at fault, so that the rest of a suite can be looked at.
_STAND_INS = {
    "name": "suite",
    "pairs": [{"teacher": {"model": "resnet14"}, "student": "resnet8"}],
    "methods": [{"method": "original", "as": "original"}],
}
_SECTIONS = ("data", "teacher", "training", "spaces", "search", "final", "students")


def names() -> tuple[str, ...]:
    """The suites that come with kdbench."""
    return tuple(sorted(path.stem for path in resources.path("suites").glob("*.yaml")))


def locate(path_or_name: str) -> Path:
    """The file of a suite: a path as it is, else the built-in suite of that name. Raises UserError."""
    path = Path(path_or_name).expanduser()
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or (path.parts and path.exists()):
        return path
    if path_or_name in names():
        return resources.path(f"suites/{path_or_name}.yaml")
    allowed = f"the path of a suite file, or one of {', '.join(names())}"
    raise UserError([mistake("suite", path_or_name, allowed, names=names())])


def load(path_or_name: str, sets: Sequence[str] = ()) -> Suite:
    """The suite in a file, or the built-in one of that name, with `sets` ("search.trials=64") laid over it.

    Relative paths in it are relative to its file. Raises UserError with every mistake that can be seen before
    the data set is opened: unknown keys, wrong types and ranges, unknown names, contradictions.
    """
    suite, found = inspect(path_or_name, sets)
    if found or suite is None:
        raise UserError(found)
    return suite


def inspect(path_or_name: str, sets: Sequence[str] = ()) -> tuple[Suite | None, list[Mistake]]:
    """What `load` gives, and the mistakes that it raises.

    Where there are any, the Suite is what is left without the faulty keys, so that what only the data set
    shows is found at once; None where nothing sensible is left. Raises UserError where there is no such file.
    """
    path = locate(path_or_name)
    raw = _normal_form(yamlfile.read(path, what="a suite"))
    found: list[Mistake] = []
    keys: dict[str, str] = {}
    for text in sets:
        try:
            keys[_lay_over(raw, text)] = f"--set {text}"
        except UserError as error:
            found.extend(error.mistakes)
        raw = _normal_form(raw)
    suite, more = validate(raw, path.absolute().parent, str(path))
    found.extend(_name_source(item, keys) for item in more)
    return suite, found


def build(raw: Mapping[str, Any], base: Path, file: str = "") -> Suite:
    """The suite that the mapping `raw` spells; relative paths are relative to `base`. Raises UserError."""
    suite, found = validate(_normal_form(raw), base, file)
    if found or suite is None:
        raise UserError(found)
    return suite


def validate(raw: Mapping[str, Any], base: Path, file: str) -> tuple[Suite | None, list[Mistake]]:
    """The Suite that `raw`, in normal form, describes and all its mistakes; see `inspect`."""
    raw = _with_searched_fraction(raw)
    known = dict(raw)  # without what is faulty
    found: list[Mistake] = []
    for key in ("teacher", "training"):
        if isinstance(raw.get(key), Mapping):
            faults = list(mistakes.of_recipe(raw[key], key, file))
            found += faults
            known[key] = {} if faults else raw[key]
    found += checks.all_of(raw, file)
    found += _replace_parsed(known, raw, base, file)
    if isinstance(raw.get("storage"), str) and "://" not in raw["storage"]:
        known["storage"] = str(base / Path(raw["storage"]).expanduser())
    if isinstance(raw.get("pairs"), list):
        known["pairs"] = [_with_absolute_weights(pair, base) for pair in raw["pairs"]]
    found += checks.files(known, file)
    suite = None
    try:
        suite = Suite.model_validate_json(json.dumps(known))
    except ValidationError as error:
        found += mistakes.of_suite(error, known, file)
    if found:
        suite = _rest(known, found)
    return suite, list({item.key: item for item in reversed(found)}.values())[::-1]


def _rest(known: Mapping[str, Any], found: Sequence[Mistake]) -> Suite | None:
    """The Suite without the keys that are at fault: of a list, without the whole item."""
    if any(item.key.partition(".")[0] == "dataset" for item in found):
        return None
    rest = json.loads(json.dumps(known))
    for item in sorted(found, key=lambda item: item.key, reverse=True):  # the last items of a list first
        _remove(rest, item.key.split("."))
    rest |= {key: value for key, value in _STAND_INS.items() if not rest.get(key)}
    try:
        return Suite.model_validate_json(json.dumps(rest))
    except ValidationError:
        return None


def _remove(node: Any, path: Sequence[str]) -> None:
    first, *rest = path
    if isinstance(node, list):
        if first.isdecimal() and int(first) < len(node):
            del node[int(first)]
    elif isinstance(node, dict) and first in node:
        if rest and isinstance(node[first], dict | list):
            _remove(node[first], rest)
        else:
            del node[first]


def _with_searched_fraction(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which the search is done at the largest fraction where nothing else is said."""
    search = raw.get("search", {})
    fractions = [item for item in checks.numbers(raw.get("fractions", [1.0])) if 0 < item <= 1]
    if isinstance(search, Mapping) and "fractions" not in search and fractions:
        return {**raw, "search": {**search, "fractions": [max(fractions)]}}
    return dict(raw)


def _replace_parsed(
    known: dict[str, Any], raw: Mapping[str, Any], base: Path, file: str
) -> Iterator[Mistake]:
    """Put the parsed forms of `dataset` and `spaces`, which have parsers of their own, into `known`."""
    known["dataset"], known["spaces"] = {"name": "digits"}, {}
    try:
        known["dataset"] = dataclasses.asdict(data.parse(raw.get("dataset", "digits"), base, file))
    except UserError as error:
        yield from error.mistakes
    try:
        parsed = overrides.parse(raw.get("spaces", {}), checks.labels(raw), checks.shared(raw), file)
        known["spaces"] = json.loads(json.dumps(parsed, default=dataclasses.asdict))
    except UserError as error:
        yield from error.mistakes


def _normal_form(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling for what may be written in several ways. Idempotent."""
    normal = {key: value for key, value in raw.items() if not (key in _SECTIONS and value is None)}
    if isinstance(normal.get("dataset"), str):
        normal["dataset"] = {"name": normal["dataset"]}
    if isinstance(normal.get("dataset"), Mapping):
        normal["dataset"] = _with_variables(normal["dataset"], ("root", "parquet", "folder"))
    if isinstance(normal.get("teacher", {}), Mapping):
        normal["teacher"] = {"epochs": TEACHER_EPOCHS} | dict(normal.get("teacher", {}))
    if normal.get("methods", "all") == "all":
        normal["methods"] = ["all"]
    if isinstance(normal["methods"], list):
        normal["methods"] = [_entry(item) for item in _with_all(normal["methods"])]
    if isinstance(normal.get("pairs"), list):
        normal["pairs"] = [_pair(item) for item in normal["pairs"]]
    return normal


def _with_all(entries: list[Any]) -> list[Any]:
    """The list with every method that it does not name in the place of the item `all`."""
    named = {str(item.get("method") if isinstance(item, Mapping) else item) for item in entries}
    rest = [name for name in methods.names() if name not in named]
    return [name for item in entries for name in (rest if item == "all" else [item])]


def _entry(item: Any) -> Any:
    entry = {"method": item} if isinstance(item, str) else item
    return {"as": entry["method"], **entry} if isinstance(entry, Mapping) and "method" in entry else entry


def _pair(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    teacher = item.get("teacher")
    if isinstance(teacher, str):
        teacher = {"model": teacher}
    if isinstance(teacher, Mapping):
        teacher = _with_variables(teacher, ("weights",))
    return {**item, "teacher": teacher} if "teacher" in item else item


def _with_variables(value: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The mapping with `$VARIABLES` in its paths replaced; what is not set stays and is named as missing."""
    known = {name: os.path.expandvars(value[name]) for name in paths if isinstance(value.get(name), str)}
    return {**value, **known}


def _with_absolute_weights(pair: Any, base: Path) -> Any:
    teacher = pair.get("teacher") if isinstance(pair, Mapping) else None
    if isinstance(teacher, Mapping) and isinstance(teacher.get("weights"), str):
        weights = str(base / Path(teacher["weights"]).expanduser())
        return {**pair, "teacher": {**teacher, "weights": weights}}
    return pair


def _lay_over(raw: dict[str, Any], text: str) -> str:
    """Set the value of `a.b.0.c=value` in `raw`; the value is YAML. Returns the key. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError([Mistake("--set", repr(text), "key.key=value, the value in YAML")])
    parsed = yamlfile.parse(value, file="--set", key=key)
    *parents, last = key.split(".")
    node: Any = raw
    for depth, step in enumerate(parents):
        if isinstance(node, dict):
            node = node.setdefault(step, {})
        else:
            node = node[_index(node, step, ".".join(parents[:depth]), text)]
    if isinstance(node, dict):
        node[last] = parsed
    else:
        node[_index(node, last, ".".join(parents), text)] = parsed
    return key


def _index(node: Any, step: str, key: str, text: str) -> int:
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        return int(step)
    what = (
        f"a number from 0 to {len(node) - 1}" if isinstance(node, list) else f"no key below: it is {node!r}"
    )
    raise UserError([Mistake(f"{key}.{step}", repr(step), what, f"--set {text}")])


def _name_source(item: Mistake, keys: Mapping[str, str]) -> Mistake:
    """The mistake with the `--set` that made it in the place of the file."""
    latest = list(keys.items())[::-1]
    inside = [source for key, source in latest if f"{item.key}.".startswith(f"{key}.")]
    around = [source for key, source in latest if key.startswith(f"{item.key}.")]
    return dataclasses.replace(item, file=(inside + around + [item.file])[0])
