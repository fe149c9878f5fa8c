"""The queue of operations on their way to MLflow: a folder of append-only JSON lines.

The driver appends and never waits; the writer reads from the other end. Nothing is kept in memory: a
tracking server that is away only makes the files longer, and what a killed launch had not sent is there for
the next one. A segment is deleted when all its lines are sent and nobody writes to it any more (who writes
holds a lock on it, which the operating system releases at its death). Sending a line twice does no harm,
and after a crash a segment is sent again from its start.
"""

import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from kdbench.tracking.operations import Operation, decode, encode

_log = logging.getLogger(__name__)

SEGMENT = 1000  # operations in a segment: what is sent again after a crash, at most


class Appender:
    """The driver's end. Safe for several threads of one process."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._lines = 0
        self._number = 0

    def append(self, *operations: Operation) -> None:
        """Add operations in this order. They survive the process; after `Reader.sync` the machine, too."""
        with self._lock:
            for operation in operations:
                if self._file is None or self._lines >= SEGMENT:
                    self._open_segment()
                assert self._file is not None  # noqa: S101 - for mypy; opened above
                _write_all(self._file, encode(operation))
                self._lines += 1

    def close(self) -> None:
        """Give the last segment up; the writer may then delete it."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file)
                os.close(self._file)
                self._file = None

    def _open_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
        # The lock is taken before the segment has its name: the writer never sees one that looks given up.
        unnamed = self._folder / f".{os.getpid()}-{uuid.uuid4().hex}"
        self._file = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._number = max([self._number, *(int(path.stem) for path in segments(self._folder))]) + 1
        os.link(unnamed, self._folder / f"{self._number:06d}.jsonl")
        unnamed.unlink()
        self._lines = 0


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def segments(folder: Path) -> list[Path]:
    """The spool's files, oldest first."""
    return sorted(folder.glob("[0-9]*.jsonl"), key=lambda path: int(path.stem))


def waiting(folder: Path) -> int:
    """How many operations the spool still holds, those of a partly sent segment included."""
    return sum(1 for path in segments(folder) for line in path.read_bytes().split(b"\n")[:-1] if line)


class Reader:
    """The writer's end: operations in order, kept until they are acknowledged."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self._taken: list[tuple[Path, int]] = []

    def take(self, limit: int) -> list[Operation]:
        """The next operations, at most `limit`, that are not acknowledged. The same ones until they are."""
        taken: dict[Path, int] = {}
        operations: list[Operation] = []
        for path in segments(self._folder):
            for operation, end in _read(path, self._offsets.get(path, 0)):
                taken[path] = end
                if operation is not None:
                    operations.append(operation)
                if len(operations) == limit:
                    break
            if len(operations) == limit:
                break
        self._taken = list(taken.items())
        return operations

    def acknowledge(self) -> None:
        """What was taken last is in MLflow: forget it, and delete the segments that are through."""
        self._offsets.update(self._taken)
        self._taken = []
        for path in segments(self._folder):
            if not _finished(path, self._offsets.get(path, 0)):
                break
            path.unlink()
            self._offsets.pop(path, None)

    def waiting(self) -> int:
        """How many operations are not acknowledged yet."""
        return sum(1 for path in segments(self._folder) for _ in _read(path, self._offsets.get(path, 0)))

    def sync(self) -> None:
        """Make what is waiting survive a power failure."""
        for path in segments(self._folder):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _read(path: Path, offset: int) -> Iterator[tuple[Operation | None, int]]:
    """Operations after `offset`, each with the offset behind it; None for a damaged line."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield decode(line), offset
            except ValueError as error:
                _log.warning("%s: skipped a damaged line: %s", path.name, error)
                yield None, offset


def _finished(path: Path, offset: int) -> bool:
    """Whether nobody writes to the segment and every whole line of it is sent."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        rest = os.pread(file, os.fstat(file).st_size - offset, offset)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return b"\n" not in rest  # what is left is the torn tail of a dead writer
