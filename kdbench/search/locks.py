"""One launch of a suite at a time, and signals that end it in order."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import filelock

from kdbench.errors import Mistake, UserError


@contextlib.contextmanager
def only_launch(folder: Path, suite: str) -> Iterator[None]:
    """Hold the lock of a launch folder. Raises UserError while another launch of the suite has it.

    The system drops the lock of a process that is killed, so there is nothing to clean up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "launch.pid"
    lock = filelock.FileLock(folder / "launch.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        other = owner.read_text().strip() if owner.exists() else "another process"
        allowed = f"one launch of a suite at a time in one state directory; {other} runs it: wait, or stop it"
        raise UserError([Mistake("launch", suite, allowed)]) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


class Interrupted(BaseException):
    """SIGINT or SIGTERM came. No Exception, so that nothing on its way takes it for a failure."""


class Signals:
    """Turns SIGINT and SIGTERM into Interrupted while entered, in the main thread; elsewhere does nothing.

    Raised inside Ray's compiled code an exception becomes another one; so while `deferred` the first signal
    is only noted, for `check` to raise. A second one is raised at once.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal that came; 0: none
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals, again where something else has taken them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.signal(number, self._note)
                self._before.setdefault(number, handler)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.number:
            raise Interrupted

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.number = not self.number, number
        if not (self.deferred and first):
            raise Interrupted
