"""Frames as plain, typed values."""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import pandas as pd

K = TypeVar("K", bound=tuple[Any, ...])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as mappings from column to value."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))


def columns(frame: pd.DataFrame) -> list[str]:
    """The names of a frame's columns."""
    return [str(name) for name in frame.columns]


def groups(frame: pd.DataFrame, kind: type[K]) -> Iterator[tuple[K, pd.DataFrame]]:
    """The rows of equal key, by rising key; `kind` is a named tuple of the columns that make the key."""
    names: list[str] = list(kind._fields)  # type: ignore[attr-defined]
    for key, group in frame.groupby(names):
        yield cast(Any, kind)(*cast(tuple[Any, ...], key)), group
