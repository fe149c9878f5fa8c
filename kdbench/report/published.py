"""Numbers from papers that may stand beside ours: same data set, same networks, same classes left out."""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kdbench.report.leaderboard import Leaderboard

_OMITTED = "omit classes "


def beside(board: Leaderboard) -> list[dict[str, Any]]:
    """The entries of published.yaml in a leaderboard's setting; [] with less than all training data."""
    key = board.key
    return [
        entry
        for entry in _entries()
        if key.fraction == 1
        and entry["dataset"] == key.dataset
        and fnmatchcase(key.pair, entry["pair"])
        and entry.get("omitted", "") == _omitted(board)
    ]


def _omitted(board: Leaderboard) -> str:
    parts = board.protocol_label.split(" · ")
    return next((part.removeprefix(_OMITTED) for part in parts if part.startswith(_OMITTED)), "")


@cache
def _entries() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = yaml.safe_load(text)
    return entries
