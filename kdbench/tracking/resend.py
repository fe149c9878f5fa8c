"""Sending what a launch could not: `kdbench sync`."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from kdbench.errors import Mistake, UserError
from kdbench.home import Home
from kdbench.tracking.operations import decode
from kdbench.tracking.spool import Appender, waiting
from kdbench.tracking.uri import artifact_root, check
from kdbench.tracking.writer import CLIENT_DEFAULTS, LOCK, SET_ASIDE, Errand, Writer, drain


def sync(suite: str, *, uri: str, home: Home) -> int:
    """Send what is spooled of a suite, what MLflow refused before included. Returns how much is left.

    Raises UserError where MLflow does not answer or a launch of the suite is sending.
    """
    folder = home.launch(suite) / "spool"
    if not waiting(folder) and not (folder / SET_ASIDE).exists():
        return 0
    check(uri)
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    artifacts = artifact_root(uri, home)
    errand = Errand(uri, suite, str(folder), str(artifacts) if artifacts else None)
    try:
        with FileLock(folder / LOCK, timeout=1):
            _try_again(folder)
            writer = Writer(errand)
            drain(writer, errand)
            return int(writer.report()["left"])
    except Timeout:
        allowed = "a suite that no launch is working on: a running launch sends by itself"
        raise UserError([Mistake(key="sync", given=repr(suite), allowed=allowed)]) from None


def _try_again(folder: Path) -> None:
    """Put what was refused behind what is waiting."""
    refused = folder / SET_ASIDE
    if refused.exists():
        again = Appender(folder)
        for line in refused.read_bytes().splitlines():
            again.append(decode(line))
        again.close()
        refused.unlink()
