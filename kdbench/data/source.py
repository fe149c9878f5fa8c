"""What every source of images can do, and where the built-in ones lie."""

import os
from pathlib import Path
from typing import Literal, Protocol

from kdbench.data.images import Images
from kdbench.data.spec import DatasetSpec
from kdbench.errors import Mistake, UserError

Part = Literal["train", "test"]


class Source(Protocol):
    """One data set on disk. Every method raises UserError where data are missing or not as they should be."""

    def read(self, part: Part) -> Images:
        """All images of one split."""
        ...

    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of their labels; None: as many numbers as there are labels."""
        ...

    def files(self) -> list[Path]:
        """Every file that the content depends on."""
        ...

    def note(self) -> str:
        """What a report must say of these images; "" for nothing."""
        ...


def data_root(spec: DatasetSpec) -> Path:
    """Where a built-in data set is looked for."""
    chosen = spec.root or os.environ.get("KDBENCH_DATA")
    return Path(chosen) if chosen else Path.home() / ".cache" / "kdbench"


def missing(spec: DatasetSpec, layout: str, download: str = "") -> UserError:
    """The answer where a built-in set is not, or not whole, at its root: the three places, how to get it."""
    allowed = f"{layout} in dataset.root, else $KDBENCH_DATA, else ~/.cache/kdbench"
    return UserError(
        [
            Mistake(
                "dataset",
                f"'{spec.name}', which is missing or damaged in {data_root(spec)}",
                allowed + download,
            )
        ]
    )


def unreadable(where: str | Path, problem: str, allowed: str) -> UserError:
    """The answer where data are there but not as they should be."""
    return UserError([Mistake("dataset", f"{where}, {problem}", allowed)])
