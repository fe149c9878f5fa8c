"""Launches that lose their driver, a node or their neighbours' good behaviour.

Real Ray, several processes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from kdbench import plan as planning
from kdbench import records, search
from kdbench.home import Home
from kdbench.search import cluster

HERE = Path(__file__).parent
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


class Launch:
    """A launch in a process group of its own."""

    def __init__(self, home, folder, path, *more):
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(HERE / "launch_script.py"),
            str(home.root),
            str(folder),
            *more,
        ]
        environment = {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def signal(self, number, *, group=False):
        (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self):
        """Exit code and what was printed."""
        out, _ = self.process.communicate(timeout=400)
        return self.process.returncode, out


@pytest.fixture
def state(tmp_path):
    home = Home(tmp_path / "state")
    home.root.mkdir()
    return home


@pytest.fixture
def launched(state, tmp_path, fake_path):
    """Starts launches of the plan in `tmp_path`; none outlives the test."""
    processes = []

    def start(*more):
        processes.append(Launch(state, tmp_path, fake_path, *more))
        return processes[-1]

    yield start
    for launch in processes:
        if launch.process.poll() is None:
            launch.signal(signal.SIGKILL, group=True)
            launch.process.wait()


def order(state, **orders):
    (state.root / "orders.json").write_text(json.dumps(orders))


def calls(state):
    path = state.root / "calls.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_calls(state, number, launch):
    while len(calls(state)) < number:
        assert launch.process.poll() is None, "the launch ended before it was killed"
        time.sleep(0.05)


def assert_every_key_once(plan, state, work):
    """`work`: the calls of the training. Each key has a result; only runs under way were begun again."""
    assert search.status(plan, state).done
    trials = [record for record in records.read_all(state.results) if record.kind == "trial"]
    budget = sorted((study.key, n) for study in plan.studies for n in range(study.trials))
    assert sorted((trial.study, trial.number) for trial in trials) == budget
    ended = {record.key for record in records.read_all(state.results) if record.state != "running"}
    assert {call["key"] for call in work} == ended


def assert_mlflow_holds_the_plan(plan, state):
    """Every planned run once, ended, with every epoch of its record and nothing beside."""
    from mlflow import MlflowClient

    client = MlflowClient(state.mlflow_uri)
    experiment = client.get_experiment_by_name(plan.suite.name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    found = [run for run in runs if run.data.tags["kdbench.kind"] in ("teacher", "trial", "final")]
    planned = Counter((run.kind, run.pair, run.key) for run, _ in search.recorded_runs(plan, state))
    assert set(planned.values()) == {1}
    tags = ("kdbench.kind", "kdbench.pair", "kdbench.key")  # a teacher serves several pairs and has none
    assert Counter(tuple(run.data.tags.get(tag, "") for tag in tags) for run in found) == planned
    known = {record.key: record for record in records.read_all(state.results)}
    for run in found:
        record = known[run.data.tags["kdbench.key"]]
        assert run.data.tags["kdbench.state"] == record.state
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert {(point.step, point.value) for point in history} == {
            (epoch.epoch, epoch.metrics["val/accuracy"]) for epoch in record.history
        }
    others = [run.data.tags["kdbench.kind"] for run in runs if run not in found]
    assert Counter(others) == {"launch": 1, "study": len(plan.studies)}


def test_a_driver_killed_at_random_moments_finishes_exactly_the_plan(make_plan, state, tmp_path, launched):
    plan = make_plan(methods=["original", "hinton"], search={"trials": 6, "grace_epochs": 1})
    planning.write(plan, tmp_path)
    order(state, **{"*": {"sleep": 0.05}})
    moments = random.Random(4)
    ended = []  # at each kill: how much work was begun, and the keys that had a result
    for alone in (True, False, True):  # the driver alone, or its workers with it
        launch = launched("mlflow")
        before = len(calls(state))
        wait_for_calls(state, before + 2, launch)
        time.sleep(moments.uniform(0, 1.5))
        launch.signal(signal.SIGKILL, group=not alone)
        launch.wait()
        known = {item.key for item in records.read_all(state.results) if item.state != "running"}
        ended.append((len(calls(state)), known))
    begun_and_killed = len(calls(state))
    code, out = launched("mlflow").wait()
    assert (code, "nothing=False" in out, "spooled=0" in out) == (0, True, True)
    assert_mlflow_holds_the_plan(plan, state)
    work = calls(state)
    assert_every_key_once(plan, state, work)
    times = Counter(call["key"] for call in work)
    done_before = {call["key"] for call in work[:begun_and_killed]}
    # Begun more than once: only what a kill interrupted, at most the runs in flight at each of three kills.
    assert sum(times.values()) - len(times) <= 3 * 6
    assert {key for key, count in times.items() if count > 1} <= done_before
    for begun, known in ended:  # and never what was done
        assert not known & {call["key"] for call in work[begun:]}
    for trial in records.read_all(state.results):
        assert [epoch.epoch for epoch in trial.history] == list(range(1, len(trial.history) + 1))
    code, out = launched().wait()
    assert (code, "nothing=True heavy=[]" in out) == (0, True)


def test_a_store_that_goes_away_ends_the_launch_and_loses_nothing(make_plan, state, tmp_path, launched):
    plan = make_plan(methods=["original"])
    planning.write(plan, tmp_path)
    order(state, **{"*": {"sleep": 0.1}})
    launch = launched()
    wait_for_calls(state, 4, launch)
    state.results.rename(state.root / "elsewhere")
    state.results.write_text("nothing can be written here")
    code, out = launch.wait()
    assert (code, "exit=1" in out) == (1, True)
    assert "broken=" in out and str(state.results) in out
    state.results.unlink()
    (state.root / "elsewhere").rename(state.results)
    assert launched().wait()[0] == 0
    assert_every_key_once(plan, state, calls(state))


def test_a_machine_that_fails_its_runs_ends_the_launch_and_fails_no_run(make_plan, state, tmp_path, launched):
    plan = make_plan(methods=["original"])
    planning.write(plan, tmp_path)
    order(state, final={"full": 100}, trial={"full": 1})  # once a trial, which is tried again
    code, out = launched().wait()
    assert (code, "broken=" in out and "No space left on device" in out) == (1, True)
    ended = [record for record in records.read_all(state.results) if record.state != "running"]
    assert {record.kind for record in ended} == {"trial"}
    assert {record.state for record in ended} <= {"complete", "pruned"}
    order(state)
    assert launched().wait()[0] == 0
    assert_every_key_once(plan, state, calls(state))


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)],  # as a terminal and as a job's manager do
)
def test_a_signal_ends_a_launch_in_order(make_plan, state, tmp_path, launched, number, group, code):
    plan = make_plan(methods=["original"])
    planning.write(plan, tmp_path)
    order(state, **{"*": {"sleep": 0.3}})
    launch = launched()
    wait_for_calls(state, 2, launch)
    launch.signal(number, group=group)
    began = time.monotonic()
    returned, out = launch.wait()
    assert (returned, f"exit={code}" in out) == (code, True)
    assert time.monotonic() - began < 60  # not until Ray gives up looking for what the signal ended
    order(state)
    assert launched().wait()[0] == 0
    assert_every_key_once(plan, state, calls(state))


def test_a_cluster_that_loses_a_node_ends_complete(make_plan, state, told, fake_path, monkeypatch):
    cluster.prepare()
    monkeypatch.setenv("PYTHONPATH", fake_path)
    import ray
    from ray.cluster_utils import Cluster

    plan = make_plan(methods=["original", "hinton"], search={"trials": 4, "grace_epochs": 1})
    order(state, **{"*": {"sleep": 0.3}})
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        _, doomed = [machines.add_node(num_cpus=1) for _ in range(2)]
        machines.wait_for_nodes()
        ray.init(address=machines.address, log_to_driver=False)

        def lose_a_node():
            while len({call["pid"] for call in calls(state)}) < 2:
                time.sleep(0.1)
            machines.remove_node(doomed, allow_graceful=False)

        thread = threading.Thread(target=lose_a_node, daemon=True)
        thread.start()
        summary = search.launch(
            plan, home=state, tracker=told, progress=told, execute="fake_training:execute"
        )
        thread.join(timeout=5)
        assert not thread.is_alive(), "no node was lost"
    finally:
        ray.shutdown()
        machines.shutdown()
    assert (summary.exit_code, summary.missing) == (0, ())
    assert_every_key_once(plan, state, calls(state))
    assert json.loads((state.launch("tiny") / "decisions.json").read_text())["restarts"] >= 1
