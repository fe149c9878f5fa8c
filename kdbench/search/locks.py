"""One launch of a suite at a time, and signals that end it in order."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

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

    def __init__(self, number: int):
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on SIGINT and SIGTERM, in the main thread; elsewhere do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
