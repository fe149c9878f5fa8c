"""Reading YAML that people wrote: safe, strict about duplicates, and every fault a Mistake with its line."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from kdbench.errors import Mistake, UserError

_MOST_VALUES = 100_000  # a suite has some hundred; aliases of aliases would unfold to billions
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """Plain values only. Refuses duplicate keys and reads `1e-3` as the number that it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is no plain name", key_node.start_mark
                )
            if key_node.value in seen:
                problem = f"the key {key_node.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML implements, takes `1e-3` for a string: its floats need a dot. YAML 1.2 does not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(path: Path, *, what: str) -> dict[str, Any]:
    """The mapping in the YAML file `path`; `what` names the kind of file in messages ("a suite").

    Raises UserError for a file that is missing, a folder, not UTF-8, empty, not YAML, or no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _error(path, f"bytes that are not UTF-8 (at {error.start})", "YAML text in UTF-8") from error
    except IsADirectoryError as error:
        raise _error(path, "a folder", f"the YAML file of {what}") from error
    except OSError as error:
        raise _error(
            path, error.strerror or "a file that cannot be read", f"the YAML file of {what}"
        ) from error
    value = parse(text, file=str(path))
    if value is None:
        raise _error(path, "an empty file", f"a mapping: the keys of {what}")
    if not isinstance(value, dict):
        raise _error(path, f"a {_word(value)}", f"a mapping: the keys of {what}")
    return value


def parse(text: str, *, file: str = "", key: str = "") -> Any:
    """The value that `text` spells, of str, int, float, bool, None, list and dict with str keys.

    Dates and other values that YAML knows and kdbench does not become strings. Raises UserError where `text`
    is not YAML, has tags (`!!python/…` would run code), names a key twice, or unfolds to over 100,000 values.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        return _plain(value, [0], ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        given = (
            str(problem).splitlines()[0].replace("could not determine a constructor for the tag", "the tag")
            + line
        )
    except (ValueError, OverflowError, RecursionError) as error:
        given = str(error)
    except (
        AttributeError,
        KeyError,
        TypeError,
    ):  # what PyYAML's constructors raise for `!!bool x`, `!!timestamp x`
        given = "a value that does not fit its tag"
    raise UserError(
        [
            Mistake(
                key=key,
                given=given,
                allowed="plain YAML without tags: names, numbers, lists, mappings",
                file=file,
            )
        ]
    )


def _plain(value: Any, count: list[int], path: tuple[int, ...]) -> Any:
    """A copy with str keys; raises ValueError for a value that contains itself or unfolds to far too much."""
    count[0] += 1
    if count[0] > _MOST_VALUES or id(value) in path:
        raise ValueError("aliases that unfold without end")
    if len(path) > _DEEPEST:
        raise ValueError(f"values nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        return {_name(key): _plain(item, count, (*path, id(value))) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, count, (*path, id(value))) for item in value]
    if isinstance(value, str):
        value.encode()  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _name(key: Any) -> str:
    if isinstance(key, str):
        key.encode()
        return key
    return str(yaml.safe_dump(key)).splitlines()[0]


def _word(value: Any) -> str:
    return "list" if isinstance(value, list) else f"single value ({str(value)[:40]!r})"


def _error(path: Path, given: str, allowed: str) -> UserError:
    return UserError([Mistake(key="", given=given, allowed=allowed, file=str(path))])
