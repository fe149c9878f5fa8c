"""What runs inside a worker: one training, reported epoch by epoch. Imports neither Optuna nor MLflow."""

import functools
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from kdbench.home import Home
from kdbench.records import Epoch
from kdbench.search.work import MESSAGE, Message, Work


def run(config: Mapping[str, Any]) -> None:
    """Do `config["work"]`, reporting to the driver. Called for every run anew, in a process that stays.

    Beside the work, `config` says where the state lies (`home`), what is known of the data set (`facts`), and
    which function trains (`execute`, as "module:function").
    """
    work: Work = config["work"]
    reporter = _Reporter()
    outcome = _function(config["execute"])(
        work.job,
        kind=work.kind,
        key=work.key,
        home=Home(Path(config["home"])),
        device=work.device,
        on_epoch=reporter.epoch,
        on_resumed=reporter.resumed,
        threads=max(1, int(work.share.cpu)),  # more would fight with the neighbours' threads
        keep_student=work.keep_student,
        pair_teacher=work.pair_teacher,
        facts=config["facts"],
    )
    reporter.end(asdict(outcome))


class _Reporter:
    """Sends what is measured to the driver; every message waits until the driver has taken it."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def epoch(self, epoch: Epoch) -> None:
        """An epoch has ended."""
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
