"""Where the state of launches lies, as the driver reads and writes it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from kdbench import records
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.records import Record
from kdbench.search import ledger


def state_home(plan: Plan, home: Home) -> Home:
    """Where records, teachers, students and checkpoints of a plan's launches are on this machine.

    A folder in `storage:`, which all machines must see, else `home`; beside an object store, `home` is its
    mirror.
    """
    storage = plan.suite.storage
    if storage is None or is_remote(storage):
        return home
    return Home(folder_of(storage))


def is_remote(storage: str) -> bool:
    """Whether `storage` names an object store rather than a folder."""
    return "://" in storage and not storage.startswith("file:")


def folder_of(storage: str) -> Path:
    """The folder that `storage` names: a path, or a file: URI."""
    return Path(urlsplit(storage).path if storage.startswith("file:") else storage)


class Store:
    """The state of a plan's launches: `home`, and the object store that it mirrors, if there is one."""

    def __init__(self, plan: Plan, home: Home):
        """Raises UserError for a `storage:` that nothing opens."""
        self.home = state_home(plan, home)
        self.uri = plan.suite.storage if plan.suite.storage and is_remote(plan.suite.storage) else None
        self._mirror = None
        if self.uri is not None:
            from kdbench.search.mirror import (
                Mirror,  # imports pyarrow, which a launch without it does not need
            )

            self._mirror = Mirror(self.uri, self.home)

    def fetch(self) -> None:
        """Make the records here and there the same. Those there are the authority; those only here are
        added.
        """
        if self._mirror is not None:
            self._mirror.pull("results")
            self._mirror.push_missing("results")

    def records(self) -> Iterator[Record]:
        """All records."""
        return ledger.read(self.home.results)

    def record(self, key: str) -> Record | None:
        """The record of `key`, if there is one."""
        return ledger.read_one(self.home.results / f"{key}.json")

    def write(self, record: Record) -> None:
        """Write a record; when this returns it is where it will be looked for."""
        path = records.write(record, self.home.results)
        if self._mirror is not None:
            self._mirror.push("results", [path.name])

    def has_teacher(self, key: str) -> bool:
        """Whether the weights of a trained teacher are there."""
        name = f"{key}.safetensors"
        if self._mirror is not None:
            return self._mirror.has("teachers", name)
        return (self.home.teachers / name).exists()

    def fetch_student(self, key: str) -> None:
        """Have the student of a final run here, for MLflow."""
        if self._mirror is not None:
            self._mirror.pull("students", [f"{key}.safetensors", f"{key}.json"])

    def forget_checkpoints(self, key: str) -> None:
        """Remove what only the training of `key` needed."""
        if self._mirror is not None:
            self._mirror.remove(f"checkpoints/{key}")
        else:
            shutil.rmtree(self.home.checkpoints / key, ignore_errors=True)
