"""A user's mistakes, all of them at once: where, what was given, what is allowed, the nearest valid name."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in what a user wrote."""

    key: str  # dotted path of the value: "search.trials"; "" for a whole file
    given: str  # what stands there, as the user would recognise it
    allowed: str  # what may stand there, in words
    file: str = ""  # the file it stands in; "" for the command line
    nearest: str = ""  # the closest valid name, where there is one

    def __str__(self) -> str:
        """One line: `file: key: given …; allowed: …; did you mean …?`"""
        where = ": ".join(part for part in (self.file, self.key) if part)
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{where}: given {self.given}; allowed: {self.allowed}{hint}"


class UserError(Exception):
    """What the command line answers with exit code 2, one line per mistake and no traceback."""

    def __init__(self, mistakes: Iterable[Mistake]):
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


def mistake(key: str, given: Any, allowed: str, *, file: str = "", names: Iterable[str] = ()) -> Mistake:
    """A Mistake whose nearest valid name is looked up in `names`."""
    return Mistake(
        key=key, given=repr(given), allowed=allowed, file=file, nearest=_nearest(str(given), names)
    )


def _nearest(given: str, names: Iterable[str]) -> str:
    """The name most like `given`; of those alike, the one that begins as it does; "" where none is close."""

    def likeness(name: str) -> tuple[float, int]:
        return SequenceMatcher(None, name, given).ratio(), len(os.path.commonprefix([name, given]))

    return max(get_close_matches(given, list(names), n=5, cutoff=0.5), key=likeness, default="")


class RangeError(ValueError):
    """A hyperparameter outside its range: the key, the value and the range, for a UserError to be made of."""

    def __init__(self, key: str, allowed: str, given: Any):
        self.key, self.allowed, self.given = key, allowed, given
        super().__init__(f"{key}: given {given!r}; allowed: {allowed}")


def require(holds: bool, key: str, allowed: str, given: Any) -> None:
    """Raise RangeError unless `holds`. Write it so that NaN fails too (`x > 0`, not `not x <= 0`)."""
    if not holds:
        raise RangeError(key, allowed, given)
