"""A real tracking server that is killed in the middle, on SQLite and PostgreSQL: nothing is lost or twice."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kdbench import records, tracking
from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.tracking import Tracker
from kdbench.tracking.page import free_port, server_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Server:
    """`mlflow server` on a database, which can be killed and started again at the same address."""

    def __init__(self, database: str, folder: Path):
        self._port = free_port()
        self._database, self._folder = database, folder
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                server_command(self._database, self._folder / "artifacts", self._port),
                env={**os.environ, "MLFLOW_BACKEND_STORE_URI": self._database},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "server.log").read_text()
                time.sleep(0.5)
        raise TimeoutError((self._folder / "server.log").read_text())

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/server.db"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URI of a throwaway PostgreSQL, run by a user without privileges."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    candidates = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *map(Path, os.environ["PATH"].split(os.pathsep)),
    ]
    binaries = next((folder for folder in candidates if (folder / "initdb").exists()), None)
    if binaries is None:
        pytest.skip("PostgreSQL's server (initdb, pg_ctl) is not installed")
    user = "nobody" if os.getuid() == 0 else None  # PostgreSQL refuses to be run by root
    folder = Path(tempfile.mkdtemp(prefix="kdbench-postgresql-"))
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"

    def run(*command: str) -> None:
        subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    run("initdb", "--pgdata", str(data), "--username", "kdbench", "--auth", "trust", "--no-sync")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
    run(
        "pg_ctl", "--pgdata", str(data), "--wait", "--log", str(folder / "log"), "--options", options, "start"
    )
    try:
        yield f"postgresql://kdbench:unused@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "--pgdata", str(data), "--wait", "--mode", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(database: str, tmp_path: Path) -> Iterator[Server]:
    found = Server(database, tmp_path)
    found.start()
    yield found
    found.kill()


def play(tracker: Tracker, of: Plan, home: Home, make: Any, study: Any) -> list[Any]:
    """One study of a launch, with its finals."""
    told = []
    for number in range(study.trials):
        run, record = make.trial(of, study, number)
        tracker.opened(run, record)
        for epoch in make.history(3):
            tracker.epoch(run, epoch)
        told.append((run, make.done(record)))
        tracker.ended(*told[-1])
    for run, record in make.tuned(of, study):
        tracker.opened(run, record)
        make.student(home, of, run)
        told.append((run, make.done(record, 0.8 + 0.01 * run.index)))
        tracker.ended(*told[-1])
    return told


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 300
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(0.2)


def assert_all_once(uri: str) -> None:
    """Every run, metric and student of the small suite is there, once."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small").experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == len({run.info.run_name for run in runs}) == 1 + 2 + 2 * 2 + 2 * 2 * 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["kdbench.kind"] in ("trial", "final"):
            for metric in ("val/accuracy", "val/loss", "train/loss"):
                points = client.get_metric_history(run.info.run_id, metric)
                assert sorted(point.step for point in points) == [1, 2, 3]
        if run.data.tags["kdbench.kind"] == "final":
            (point,) = client.get_metric_history(run.info.run_id, "test/accuracy")
            assert 0.7 < point.value < 0.9
    models = client.search_logged_models([experiment])
    assert len(models) == 4 and {model.status for model in models} == {"READY"}
    assert len(client.search_registered_models()) == len(client.search_model_versions()) == 2


LAUNCH = """\
name: outage
dataset: digits
pairs: [{teacher: resnet14, student: resnet8w4}]
teacher: {epochs: 3}
training: {epochs: 16, batch_size: 64}
methods: [original, hinton]
search: {trials: 8, scheduler: none}
final: {seeds: 2, defaults: false}
"""


def test_a_launch_goes_on_while_its_server_is_killed_for_twenty_seconds(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "outage.yaml").write_text(LAUNCH)
    client = MlflowClient(server.uri)

    def logged() -> list[Run]:
        found = client.get_experiment_by_name("outage")
        return list(client.search_runs([found.experiment_id])) if found else []

    def says(run: Run, kind: str, *states: str) -> bool:
        return run.data.tags["kdbench.kind"] == kind and run.data.tags.get("kdbench.state") in states

    kdbench = str(Path(sys.executable).with_name("kdbench"))
    launch = subprocess.Popen(
        [kdbench, "launch", "outage.yaml", "--set", f"tracking={server.uri}"],
        cwd=tmp_path,
        env={**os.environ, "KDBENCH_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: any(says(run, "trial", "complete") for run in logged()))
    server.kill()
    time.sleep(20)
    assert launch.poll() is None, "the server was away in the middle of the launch"
    server.start()
    output, _ = launch.communicate(timeout=400)
    assert launch.returncode == 0, output
    kept = {record.key: record for record in records.read_all(tmp_path / "state" / "results")}
    runs = [run for run in logged() if run.data.tags["kdbench.kind"] in ("trial", "final", "teacher")]
    assert len(kept) == 1 + 2 * 8 + 2 * 2
    assert sorted(run.data.tags["kdbench.key"] for run in runs) == sorted(kept)
    assert {run.info.status for run in logged()} == {"FINISHED"}
    for run in runs:
        expected = {
            (epoch.epoch, epoch.metrics["val/accuracy"])
            for epoch in kept[run.data.tags["kdbench.key"]].history
        }
        points = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert len(points) == len(expected) and {(point.step, point.value) for point in points} == expected
        if says(run, "final", "complete"):
            assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
    models = client.search_logged_models([runs[0].info.experiment_id])
    assert [model.status for model in models] == ["READY", "READY"]
    assert len(client.search_registered_models()) == len(client.search_model_versions()) == 2


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_server_killed_in_the_middle_and_at_the_end(
    server: Server, small: Plan, home: Home, make: Any, track: Callable[..., Tracker]
) -> None:
    tracking.check(server.uri, timeout=30)
    folder = home.launch("small")
    first, second = small.studies
    tracker = track(small, server.uri)
    play(tracker, small, home, make, first)
    wait_until(lambda: bool(MlflowClient(server.uri).get_experiment_by_name("small")))
    server.kill()
    with pytest.raises(UserError, match="does not answer"):
        tracking.check(server.uri)
    play(tracker, small, home, make, second)
    wait_until(lambda: "MLflow is away" in (folder / "tracking.log").read_text())
    time.sleep(20)
    server.start()
    wait_until(lambda: tracker.flush() == 0)
    server.kill()
    left = tracker.close()
    assert left == 1, "that the launch has ended is not told yet"
    server.start()
    assert tracking.sync("small", uri=server.uri, home=home) == 0
    assert_all_once(server.uri)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_server_that_comes_and_goes(
    server: Server, small: Plan, home: Home, make: Any, track: Callable[..., Tracker], tmp_path: Path
) -> None:
    tracker = track(small, server.uri)
    for study in small.studies:
        play(tracker, small, home, make, study)
        for _ in range(2):
            time.sleep(1.5)  # wherever the writer is by then: in the middle of a run, of a student
            server.kill()
            server.start()
    wait_until(lambda: tracker.flush() == 0)
    assert tracker.close() == 0
    assert_all_once(server.uri)


def test_a_store_that_kdbench_opens_itself(
    postgresql: str, small: Plan, home: Home, make: Any, track: Callable[..., Tracker]
) -> None:
    tracking.check(postgresql)
    tracker = track(small, postgresql)
    for study in small.studies:
        play(tracker, small, home, make, study)
    assert tracker.close() == 0
    assert_all_once(postgresql)
    with pytest.raises(UserError) as caught:
        tracking.check(postgresql.replace(":unused@", ":s3cret@").replace("/postgres", "/missing"))
    assert "s3cret" not in str(caught.value)
