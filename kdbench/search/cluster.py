"""Ray, as a launch uses it: started or joined, quiet, and left as it was found."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

from kdbench.errors import Mistake, UserError

# Read by Ray when it is imported.
ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0, nothing is printed while trials run
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a suite stay valid in workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files per trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would return from fit() as if all were well
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own state is never read
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher decides how many runs wait
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost worker is retried and noted
}
LEAVE_S = 15.0  # seconds that leaving Ray may take
# Loggers that advise Tuner.restore, which kdbench never uses, miss metrics that nobody wants, and tell that
# the new Ray asks for a token.
LOUD = ("ray.tune", "ray.train", "ray.air", "ray._private.authentication")


def prepare() -> None:
    """Set what must be set before Ray is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def check_address(address: str | None) -> None:
    """Raise UserError where nothing listens at a Ray address: Ray itself would ask for many minutes."""
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    allowed = "auto, or the HOST:PORT of a Ray cluster that runs"
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise UserError([Mistake("--address", repr(address), allowed)])
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError([Mistake("--address", repr(address), f"{allowed}; {error}")]) from None


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray at `address`, at `$RAY_ADDRESS`, or a new local one. Left running only where it ran before."""
    import ray

    _quiet()
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        yield
    finally:
        _leave()


def _quiet() -> None:
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _leave() -> None:
    """Shut Ray down; where it does not answer, because a signal to the process group ended it, let it be."""
    import ray

    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(LEAVE_S)
