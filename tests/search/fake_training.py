"""A training that costs next to nothing, for tests of the engine: the seam of `search.launch(execute=...)`.

`<home>/orders.json` says what happens, by method, by kind or for "*" all: {"sleep": s, "raise": 1, "nan": 1,
"oom": n times in all, "die": n times each, "full": n times in all}.
Every call appends a line to `<home>/calls.log`.
"""

import errno
import json
import os
import signal
import time
from pathlib import Path

from kdbench.records import Epoch
from kdbench.training import Outcome


def execute(
    job, *, kind, key, home, device, on_epoch, on_resumed, threads, keep_student, pair_teacher, facts
):
    """As `kdbench.training.execute`, with validation accuracy = 0.5 + 0.1 log10(1 + lr), growing by epoch."""
    orders = _orders(home, job.method, kind)
    folder = home.checkpoints / key
    done = _checkpoint(folder)
    with (home.root / "calls.log").open("a") as log:
        log.write(
            json.dumps(
                {
                    "key": key,
                    "kind": kind,
                    "pid": os.getpid(),
                    "from": len(done),
                    "method": job.method,
                    "threads": threads,
                }
            )
            + "\n"
        )
    if "full" in orders and _once(home, f"full-{kind}", int(orders["full"])):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if "raise" in orders:
        return Outcome("failed", "error", f"ValueError: shapes {job.seed} do not fit")
    if "oom" in orders and _once(home, f"oom-{job.method}", int(orders["oom"])):
        return Outcome("failed", "oom", "no memory")
    if done:
        on_resumed(tuple(done))
    for number in range(len(done) + 1, job.recipe.epochs + 1):
        time.sleep(float(orders.get("sleep", 0)))
        done.append(_epoch(number, job))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}.part").write_text(json.dumps([vars(e) for e in done]))
        os.replace(folder / f"{os.getpid()}.part", folder / "history.json")
        if "die" in orders and number == 2 and _once(home, f"died-{key}", int(orders["die"])):
            os.kill(os.getpid(), signal.SIGKILL)
        if "nan" in orders:
            return Outcome("diverged", "nan", "the loss was no number", history=tuple(done))
        on_epoch(done[-1])
    if kind == "teacher":
        home.teachers.mkdir(parents=True, exist_ok=True)
        (home.teachers / f"{key}.safetensors").write_text("fake")
    test = {"test/accuracy": 0.5} if kind == "final" else {}
    return Outcome("complete", history=tuple(done), test=test, time={"time/train_s": 0.1}, device="cpu")


def _epoch(number, job):
    accuracy = 0.5 + 0.3 * (1 - abs(job.recipe.lr - 0.1)) * number / job.recipe.epochs
    return Epoch(number, "distil", float(number), {"val/accuracy": accuracy, "val/loss": 1 - accuracy})


def _checkpoint(folder: Path):
    path = folder / "history.json"
    return [Epoch(**epoch) for epoch in json.loads(path.read_text())] if path.exists() else []


def _orders(home, method, kind):
    path = home.root / "orders.json"
    orders = json.loads(path.read_text()) if path.exists() else {}
    return {**orders.get("*", {}), **orders.get(method, {}), **orders.get(kind, {})}


def _once(home, name, times):
    """Whether this happened fewer than `times` times so far."""
    path = home.root / name
    count = int(path.read_text()) if path.exists() else 0
    path.write_text(str(count + 1))
    return count < times
