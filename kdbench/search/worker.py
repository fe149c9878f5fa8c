"""What runs inside a worker: one training, reported epoch by epoch. Imports neither Optuna nor MLflow."""

import functools
import importlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune

from kdbench.data import DatasetSpec, Facts
from kdbench.data.source import Part
from kdbench.home import Home
from kdbench.records import Epoch
from kdbench.search.remote import RemoteState
from kdbench.search.shipping import receive
from kdbench.search.work import MESSAGE, MachineFault, Message, Work


@dataclass(frozen=True)
class Setting:
    """What all runs of a launch have in common."""

    home: str  # the state directory, which every machine sees, where `storage` is None
    storage: str | None  # URI of the object store that the state lies in
    dataset: DatasetSpec
    facts: Facts
    images: Mapping[Part, Any]  # references to the shipped splits
    execute: str  # the function that trains, as "module:function"


def run(work: Work, setting: Setting) -> None:
    """Do `work`, reporting to the driver. Called for every run anew, in a process that stays.

    Raises MachineFault where a disk, a store or a network fails.
    """
    try:
        _run(work, setting)
    except OSError as problem:
        raise MachineFault(f"{socket.gethostname()}: {type(problem).__name__}: {problem}") from problem


def _run(work: Work, setting: Setting) -> None:
    state = RemoteState(setting.storage, work) if setting.storage else None
    home = state.home if state else Home(Path(setting.home))
    if state:
        state.fetch()
    receive(setting.dataset, "train", setting.images)
    if work.kind != "trial":
        receive(setting.dataset, "test", setting.images)
    reporter = _Reporter(state)
    outcome = _function(setting.execute)(
        work.job,
        kind=work.kind,
        key=work.key,
        home=home,
        device=work.device,
        on_epoch=reporter.epoch,
        on_resumed=reporter.resumed,
        threads=max(1, int(work.share.cpu)),  # more would fight with the neighbours' threads
        keep_student=work.keep_student,
        pair_teacher=work.pair_teacher,
        facts=setting.facts,
    )
    if state:
        state.end()
    reporter.end(asdict(outcome))


class _Reporter:
    """Sends what is measured to the driver; every message waits until the driver has taken it."""

    def __init__(self, state: RemoteState | None) -> None:
        self._state = state
        self._began = time.monotonic()

    def epoch(self, epoch: Epoch) -> None:
        """An epoch has ended; its checkpoint is written."""
        if self._state:
            self._state.epoch()
        self._send(Message(epochs=(epoch,), busy=self._busy))

    def resumed(self, epochs: tuple[Epoch, ...]) -> None:
        """These epochs were trained by an earlier attempt, the last report of which may be lost."""
        self._send(Message(epochs=epochs, resumed=True, busy=self._busy))

    def end(self, outcome: Mapping[str, Any]) -> None:
        """The training has ended. Said together with `done`, it asks no scheduler and costs one message."""
        self._send(Message(outcome=outcome, busy=self._busy), done=True)

    @property
    def _busy(self) -> float:
        return time.monotonic() - self._began

    def _send(self, message: Message, **more: bool) -> None:
        tune.report({MESSAGE: message.encode(), **more})


@functools.cache
def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
