"""What tracking costs: the driver per trial and per epoch, the writer, and a replay of a large launch.

    python perf/tracking.py [--trials 5000] [--epochs 10] [--server] [--live 60]

Tells a tracker about synthetic trials, once while its writer sends them to SQLite, then with the writer
gone, so that all is sent from the spool in one go (`kdbench sync`), to SQLite and with `--server` through
`mlflow server`. `--live SECONDS` plays a launch at the speed of two slots with epochs of 0.3 s and measures
the writer's CPU time.
"""

import argparse
import dataclasses
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kdbench import data, plan
from kdbench.home import Home
from kdbench.plan import Plan, Run
from kdbench.records import Epoch, Record
from kdbench.suite import load
from kdbench.tracking import Tracker, sync
from kdbench.tracking.page import free_port, server_command
from kdbench.tracking.spool import segments

SUITE = """\
name: replay
dataset: digits
pairs: [{teacher: resnet14, student: resnet8w4}]
training: {epochs: 10}
methods: [original, hinton]
"""


def made_plan(folder: Path, trials: int) -> Plan:
    path = folder / "replay.yaml"
    path.write_text(SUITE)
    suite = load(str(path), [f"search.trials={(trials + 1) // 2}"])
    labels = data.load_training(suite.dataset).labels
    return plan.make_plan(suite, data.facts(suite.dataset), labels.tolist(), "cpu")


def trial(of: Plan, number: int, epochs: int) -> tuple[Run, Record, Record]:
    study = of.studies[number % 2]
    sampled = {"lr": 0.001 * (number // 2 + 1)}
    run = plan.trial_run(of, study, number // 2, sampled)
    asked = Record(
        key=run.key,
        kind="trial",
        state="running",
        method=study.label,
        hyperparameters={**study.default, **sampled},
        seed=run.seed,
        study=study.key,
        number=run.number,
        started=time.time(),
    )
    metrics = {"val/accuracy": 0.9, "val/loss": 0.3, "train/loss": 0.2, "train/hard": 0.1, "train/soft": 0.1}
    history = tuple(Epoch(epoch, "distil", float(epoch), metrics) for epoch in range(1, epochs + 1))
    took = {"time/train_s": 1.0, "time/updates": 100.0, "time/teacher_gradients": 0.0}
    return (
        run,
        asked,
        dataclasses.replace(asked, state="complete", history=history, time=took, ended=time.time()),
    )


class Clock:
    """Sums what passes inside."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Time the body of a `with`."""
        began = time.perf_counter()
        yield
        self.total += time.perf_counter() - began
        self.count += 1

    def __str__(self) -> str:
        return f"{1000 * self.total / max(self.count, 1):.3f} ms"


def tell(tracker: Tracker, of: Plan, trials: int, epochs: int) -> None:
    """Say it as fast as the driver can."""
    per_trial, per_epoch = Clock(), Clock()
    for number in range(trials):
        run, asked, done = trial(of, number, epochs)
        with per_trial():
            tracker.opened(run, asked)
        for epoch in done.history:
            with per_epoch():
                tracker.epoch(run, epoch)
        with per_trial():
            tracker.ended(run, done)
    print(f"{trials} trials of {epochs} epochs:", end=" ")
    print(f"driver {per_trial} per trial begun or ended, {per_epoch} per epoch")


def replay(of: Plan, uri: str, home: Home, trials: int, epochs: int, where: str) -> None:
    tracker = Tracker(of, uri=uri, home=home, launch_folder=home.launch("replay"))
    tracker._process.kill()
    tell(tracker, of, trials, epochs)
    tracker.close()
    size = sum(path.stat().st_size for path in segments(home.launch("replay") / "spool"))
    began, cpu = time.perf_counter(), time.process_time()
    left = sync("replay", uri=uri, home=home)
    took, busy = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"replay into {where}: {took:.1f} s, {1000 * took / trials:.1f} ms per trial ({busy:.1f} s of CPU),"
        f" {left} left; spool {size / 2**20:.1f} MiB"
    )


@contextmanager
def server(folder: Path) -> Iterator[str]:
    port, uri = free_port(), f"sqlite:///{folder}/server.db"
    command = server_command(uri, folder / "artifacts", port)
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def live(of: Plan, home: Home, seconds: float) -> None:
    """Two slots, epochs of 0.3 s, ten per trial."""
    tracker = Tracker(of, uri=home.mlflow_uri, home=home, launch_folder=home.launch("replay"))
    writer = psutil.Process(tracker._process.pid)
    began, number, inside = time.perf_counter(), 0, Clock()
    while time.perf_counter() - began < seconds:
        both = [trial(of, number + slot, 10) for slot in range(2)]
        number += 2
        for run, asked, _ in both:
            with inside():
                tracker.opened(run, asked)
        for epoch in range(10):
            for run, _, done in both:
                with inside():
                    tracker.epoch(run, done.history[epoch])
            time.sleep(0.3)
        for run, _, done in both:
            with inside():
                tracker.ended(run, done)
    wall = time.perf_counter() - began
    cpu = writer.cpu_times()
    began = time.perf_counter()
    left = tracker.close()
    tail = time.perf_counter() - began
    print(
        f"live, {number} trials in {wall:.0f} s: driver {100 * inside.total / wall:.3f} % of the wall;"
        f" writer {cpu.user + cpu.system:.1f} s of CPU with its start; {tail:.1f} s to close, {left} left"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--server", action="store_true", help="replay through mlflow server, too")
    parser.add_argument("--live", type=float, default=60.0, help="seconds; 0: not at all")
    arguments = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        of = made_plan(folder, arguments.trials)
        for name in ("live", "sqlite", "server"):
            Home(folder / name).launch("replay").mkdir(parents=True)
        if arguments.live:
            live(of, Home(folder / "live"), arguments.live)
        home = Home(folder / "sqlite")
        replay(of, home.mlflow_uri, home, arguments.trials, arguments.epochs, "SQLite")
        print(f"database: {(home.root / 'mlflow.db').stat().st_size / 2**20:.1f} MiB")
        if arguments.server:
            with server(folder) as address:
                replay(of, address, Home(folder / "server"), arguments.trials, arguments.epochs, "a server")


if __name__ == "__main__":
    main()
