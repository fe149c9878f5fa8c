"""Where the state of launches lies: records, teachers, students, checkpoints."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from kdbench import records
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.records import Record
from kdbench.search import ledger


def state_home(plan: Plan, home: Home) -> Home:
    """Where the records, teachers, students and checkpoints of a plan's launches lie: `storage:`, else
    `home`.
    """
    storage = plan.suite.storage
    return home if storage is None else Home(Path(storage))


class Store:
    """The state as the driver reads and writes it."""

    def __init__(self, home: Home):
        self.home = home

    def records(self) -> Iterator[Record]:
        """All records."""
        return ledger.read(self.home.results)

    def record(self, key: str) -> Record | None:
        """The record of `key`, if there is one."""
        path = self.home.results / f"{key}.json"
        return records.read(path) if path.exists() else None

    def write(self, record: Record) -> None:
        """Write a record, in one step."""
        records.write(record, self.home.results)

    def forget_checkpoints(self, key: str) -> None:
        """Remove what only the training of `key` needed."""
        shutil.rmtree(self.home.checkpoints / key, ignore_errors=True)
