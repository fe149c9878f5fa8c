"""The one process that writes to MLflow: reads the spool, sends what is there, waits while MLflow is away.

It is a process of its own because `import mlflow` takes seconds and its calls hold the interpreter: the
driver, which every trial waits for, does neither. It is started by the Tracker, told by one line of JSON on
its standard input what to do, and ends once that input is closed (by the driver, or by its death) and the
spool is empty or nobody answers.
"""

import dataclasses
import json
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from kdbench.tracking.operations import Current, Operation, Write, encode
from kdbench.tracking.spool import Reader
from kdbench.tracking.uri import masked

if TYPE_CHECKING:
    from kdbench.tracking.store import Store

_log = logging.getLogger(__name__)

CHUNK = 200  # operations sent before they are acknowledged
ATTEMPTS = 3  # at an operation that fails while the store answers
LOCK = ".lock"  # in the spool: one writer at a time
SET_ASIDE = "refused.jsonl"  # in the spool: what MLflow would not take; `kdbench sync` tries it again
# MLflow's own defaults retry for minutes; here the spool is the retry.
CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclasses.dataclass(frozen=True)
class Errand:
    """What a writer is to do."""

    uri: str
    suite: str
    spool: str
    artifacts: str | None  # root for a new experiment; None: the server decides
    interval: float = 2.0  # seconds between two looks into the spool
    patience: float = 15.0  # seconds to go on trying a store that is away while somebody waits


Word = Literal["", "flush", "end"]  # what the driver says; "" where it says nothing


class Away(Exception):
    """The tracking store does not answer."""


class Writer:
    """Sends a spool to a store."""

    def __init__(self, errand: Errand):
        self._errand = errand
        self._reader = Reader(Path(errand.spool))
        self._store: Store | None = None
        self.refused = 0
        self.trouble = ""  # the last thing that went wrong

    def send(self) -> None:
        """Send everything that is in the spool. Raises Away where the store does not answer."""
        while operations := self._reader.take(CHUNK):
            for operation in coalesce(operations):
                self._send(operation)
            self._reader.acknowledge()
        self._reader.acknowledge()

    def waiting(self) -> int:
        """How many operations are in the spool, unsent."""
        return self._reader.waiting()

    def secure(self) -> None:
        """Make what is in the spool survive a power failure."""
        self._reader.sync()

    def report(self) -> dict[str, int | str]:
        """What the driver is told when it asks."""
        return {"left": self.waiting() + self.refused, "trouble": self.trouble}

    def _send(self, operation: Operation) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            store = self._connect()
            try:
                store.apply(operation)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is must not end the writer; the probe judges it
                self.trouble = masked(f"{type(error).__name__}: {error}")
                _probe(store)
                _log.warning("%s failed, attempt %d: %s", type(operation).__name__, attempt, self.trouble)
                time.sleep(0.5 * attempt)
        self.refused += 1
        with (Path(self._errand.spool) / SET_ASIDE).open("ab") as file:
            file.write(encode(operation))

    def _connect(self) -> "Store":
        if self._store is None:
            from kdbench.tracking.store import Store

            artifacts = self._errand.artifacts
            try:
                store = Store(self._errand.uri, self._errand.suite, Path(artifacts) if artifacts else None)
            except Exception as error:  # noqa: BLE001 - a database may be locked, away, or of another version
                raise Away(masked(f"{type(error).__name__}: {error}")) from None
            _probe(store)
            self._store = store
        return self._store


def _probe(store: "Store") -> None:
    try:
        store.probe()
    except Exception as error:  # noqa: BLE001 - as above
        raise Away(masked(f"{type(error).__name__}: {error}")) from None


def coalesce(operations: Iterable[Operation]) -> Iterator[Operation]:
    """The same with all writes of a run made one, and artifacts after the runs: far fewer calls after a wait.

    A `Current` stays where it is: what is written after it is current.
    """
    writes: dict[str, Write] = {}
    rest: list[Operation] = []
    for operation in operations:
        if isinstance(operation, Write):
            earlier = writes.get(operation.run)
            writes[operation.run] = earlier.then(operation) if earlier else operation
            continue
        rest.append(operation)
        if isinstance(operation, Current):
            yield from (*writes.values(), *rest)
            writes, rest = {}, []
    yield from (*writes.values(), *rest)


def drain(writer: Writer, errand: Errand) -> None:
    """Send what is there; give up when the store has been away for `errand.patience` seconds."""
    give_up = time.monotonic() + errand.patience
    while True:
        before = writer.waiting()
        try:
            writer.send()
            return
        except Away as away:
            writer.trouble = str(away)
            writer.secure()
            if writer.waiting() < before:
                give_up = time.monotonic() + errand.patience
            if time.monotonic() >= give_up:
                return
            time.sleep(1.0)


def follow(writer: Writer, errand: Errand, hear: Callable[[float], Word], answer: Callable[[], None]) -> None:
    """Send what comes until `hear(seconds to wait)` says "end"; `answer` each "flush" when all is sent."""
    pause = errand.interval
    while (word := hear(pause)) != "end":
        if word == "flush":
            drain(writer, errand)
            answer()
            continue
        try:
            writer.send()
            if pause > errand.interval:
                _log.warning("MLflow answers again")
            pause = errand.interval
        except Away as away:
            if pause == errand.interval:
                _log.warning("MLflow is away, what comes is kept in %s: %s", errand.spool, away)
            writer.trouble = str(away)
            writer.secure()
            pause = min(2 * pause, 30.0)


def main() -> None:
    """Run one errand, given as a line of JSON on standard input; end after that input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it closes our input
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    driver = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what MLflow prints goes to the log
    told = os.fdopen(0, "rb", buffering=0)  # a buffer would take lines in that `select` then never sees
    errand = Errand(**json.loads(told.readline()))
    writer = Writer(errand)

    def hear(seconds: float) -> Word:
        ready, _, _ = select.select([told], [], [], seconds)
        if not ready:
            return ""
        return "flush" if told.readline() else "end"

    def answer() -> None:
        try:
            driver.write(json.dumps(writer.report()) + "\n")
            driver.flush()
        except BrokenPipeError:
            pass  # the driver is dead; what it said is sent all the same

    with FileLock(Path(errand.spool) / LOCK):
        follow(writer, errand, hear, answer)
        drain(writer, errand)
    answer()
