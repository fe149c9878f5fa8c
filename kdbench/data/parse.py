"""The suite's `dataset:` key, in any of its forms, as a DatasetSpec."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.data.builtin import names
from kdbench.data.spec import DatasetSpec
from kdbench.errors import Mistake, UserError, mistake

_FORMS = "a name, {name: …, root: …, download: …}, {parquet: DIR, name: …} or {folder: DIR, name: …}"
_BUILTIN_KEYS = ("name", "root", "download")
_OWN_KEYS = ("name", "mean", "std")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def parse(value: str | Mapping[str, Any], base: Path, file: str = "") -> DatasetSpec:
    """The data set that `value` names; relative paths are taken from the folder `base`.

    Raises UserError with every mistake in it; `file` is where the value stands. Looks at no file.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise UserError([mistake("dataset", value, _FORMS, file=file)])
    sources = [key for key in ("parquet", "folder") if key in value]
    if len(sources) > 1:
        raise UserError([mistake("dataset", sorted(map(str, value)), "either parquet or folder", file=file)])
    if sources:
        mistakes = _own_mistakes(value, sources[0], file)
    else:
        mistakes = _builtin_mistakes(value, file)
    if mistakes:
        raise UserError(mistakes)
    return _own(value, sources[0], base) if sources else _builtin(value, base)


def _builtin(value: Mapping[str, Any], base: Path) -> DatasetSpec:
    root = value.get("root")
    return DatasetSpec(
        name=value["name"],
        root=None if root is None else _absolute(root, base),
        download=value.get("download", False),
    )


def _own(value: Mapping[str, Any], source: str, base: Path) -> DatasetSpec:
    statistics = {key: tuple(map(float, value[key])) for key in ("mean", "std") if value.get(key) is not None}
    return DatasetSpec(
        name=value["name"],
        source="parquet" if source == "parquet" else "folder",
        path=_absolute(value[source], base),
        mean=statistics.get("mean"),
        std=statistics.get("std"),
    )


def _absolute(path: str, base: Path) -> str:
    return str((base / Path(path).expanduser()).absolute())


def _builtin_mistakes(value: Mapping[str, Any], file: str) -> list[Mistake]:
    found = _unknown_keys(value, _BUILTIN_KEYS, file)
    if "name" not in value:
        return [*found, mistake("dataset", dict(value), _FORMS, file=file)]
    if value["name"] not in names():
        allowed = " ".join(names()) + ", or {parquet: DIR, name: …} or {folder: DIR, name: …}"
        found.append(mistake("dataset.name", value["name"], allowed, file=file, names=names()))
    if not isinstance(value.get("download", False), bool):
        found.append(mistake("dataset.download", value["download"], "true | false", file=file))
    if value.get("root") is not None:
        found += _path_mistakes("root", value["root"], file)
    return found


def _own_mistakes(value: Mapping[str, Any], source: str, file: str) -> list[Mistake]:
    found = _unknown_keys(value, (source, *_OWN_KEYS), file) + _path_mistakes(source, value[source], file)
    name = value.get("name")
    if "name" not in value:
        allowed = f"a name of your own: {{{source}: …, name: …}}"
        found.append(Mistake("dataset.name", "nothing", allowed, file))
    elif not isinstance(name, str) or not _NAME.fullmatch(name) or name in names():
        allowed = "a name of a-z, 0-9 and -, not that of a built-in data set"
        found.append(mistake("dataset.name", name, allowed, file=file))
    for key in ("mean", "std"):
        if value.get(key) is not None and not _is_statistic(value[key], positive=key == "std"):
            bound = "(0, 1]" if key == "std" else "[0, 1]"
            found.append(
                mistake(f"dataset.{key}", value[key], f"one number in {bound} per channel", file=file)
            )
    if (value.get("mean") is None) != (value.get("std") is None):
        found.append(
            mistake("dataset", sorted(map(str, value)), "mean and std together, or neither", file=file)
        )
    return found


def _unknown_keys(value: Mapping[str, Any], allowed: Sequence[str], file: str) -> list[Mistake]:
    unknown: Iterable[Any] = [key for key in value if key not in allowed]
    return [mistake(f"dataset.{key}", key, " ".join(allowed), file=file, names=allowed) for key in unknown]


def _path_mistakes(key: str, path: Any, file: str) -> list[Mistake]:
    if isinstance(path, str) and path and "\0" not in path:
        return []
    return [mistake(f"dataset.{key}", path, "the path of a folder", file=file)]


def _is_statistic(values: Any, *, positive: bool) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return False
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(numbers) == len(values) and all(0 <= v <= 1 and not (positive and v == 0) for v in numbers)
