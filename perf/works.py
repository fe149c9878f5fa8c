"""Trainings that cost nothing or sleep, for `search.launch(execute=...)`; imported by Ray's workers."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.records import Epoch
from kdbench.training import Outcome
from kdbench.training.job import Job

LOG = "works.log"  # in the state directory: one line per piece of work


def trivial(job: Job, *, on_epoch: Callable[[Epoch], None], **rest: Any) -> Outcome:
    """One epoch of no work."""
    epoch = _epoch(1, job)
    on_epoch(epoch)
    return Outcome("complete", history=(epoch,))


def asleep(job: Job, *, home: Any, on_epoch: Callable[[Epoch], None], **rest: Any) -> Outcome:
    """`KDBENCH_PERF_SECONDS` in all, spread over the job's epochs; leaves when it began and ended in LOG."""
    began = time.time()
    pause = float(os.environ["KDBENCH_PERF_SECONDS"]) / job.recipe.epochs
    history = []
    for number in range(1, job.recipe.epochs + 1):
        time.sleep(pause)
        history.append(_epoch(number, job))
        on_epoch(history[-1])
    with (Path(home.root) / LOG).open("a") as log:
        log.write(json.dumps([began, time.time(), os.getpid()]) + "\n")
    return Outcome("complete", history=tuple(history))


def _epoch(number: int, job: Job) -> Epoch:
    accuracy = 0.5 + 0.4 * (1 - abs(job.recipe.lr - 0.1)) * number / job.recipe.epochs
    return Epoch(number, "distil", float(number), {"val/accuracy": accuracy, "val/loss": 1 - accuracy})
