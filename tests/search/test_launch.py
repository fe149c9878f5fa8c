"""Launches on a real Ray with real Optuna and a training that costs next to nothing."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kdbench import plan as planning
from kdbench import records, search
from kdbench.home import Home
from kdbench.search import cluster, journal

HERE = Path(__file__).parent
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def local_ray(fake_path):
    """One Ray of two slots for all tests here: starting it takes ten seconds."""
    cluster.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", fake_path)
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture
def launch(tmp_path, told, local_ray):
    """A function that launches a plan with orders to the fake training; returns the summary."""

    def run(plan, **orders):
        state = Home(tmp_path / "state")
        state.root.mkdir(exist_ok=True)
        (state.root / "orders.json").write_text(json.dumps(orders))
        return search.launch(plan, home=state, tracker=told, progress=told, execute="fake_training:execute")

    return run


@pytest.fixture
def state(tmp_path):
    return Home(tmp_path / "state")


def calls(state):
    return [json.loads(line) for line in (state.root / "calls.log").read_text().splitlines()]


def run_script(state, folder, path):
    command = [sys.executable, str(HERE / "launch_script.py"), str(state.root), str(folder)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def results(state, kind):
    return [record for record in records.read_all(state.results) if record.kind == kind]


def study_in_journal(plan, state, study):
    path = state.launch(plan.suite.name) / "optuna.journal"
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=journal.name(study), storage=storage)


def test_a_launch_does_the_whole_plan_and_every_key_once(make_plan, launch, state, told, tmp_path, fake_path):
    plan = make_plan(methods=["original", "hinton", "rkd"], search={"trials": 6, "grace_epochs": 1})
    summary = launch(plan)
    assert (summary.exit_code, summary.missing, summary.counts.finals_done) == (0, (), 12)
    keys = Counter(call["key"] for call in calls(state))
    assert set(keys.values()) == {1}
    assert set(keys) == {path.stem for path in state.results.glob("*.json")}
    trials = results(state, "trial")
    assert len(trials) == 18
    for study in plan.studies:
        told_optuna = Counter(trial.state for trial in study_in_journal(plan, state, study).trials)
        of_study = Counter(trial.state for trial in trials if trial.study == study.key)
        assert told_optuna == {
            TrialState.COMPLETE: of_study["complete"],
            **({TrialState.PRUNED: of_study["pruned"]} if of_study["pruned"] else {}),
        }
    assert all(trial.state == "complete" for trial in trials if trial.number == 0)
    assert all(trial.rungs for trial in trials)
    assert {call["threads"] for call in calls(state)} == {1}  # as many as the cores that a run holds
    assert not list(state.checkpoints.glob("*"))
    assert not (state.launch("tiny") / "ray").exists()
    assert {run.key for run, _ in told.ended_} == set(keys)
    assert set(told.bests) == {(label, "resnet14->resnet8w4") for label in ("original", "hinton", "rkd")}
    decided = json.loads((state.launch("tiny") / "decisions.json").read_text())
    assert 0 < decided["utilisation"] <= 1.0
    assert decided == told.metrics
    assert len({call["pid"] for call in calls(state)}) <= 4  # actors are used again and again

    again = launch(plan)
    assert (again.nothing_to_do, again.exit_code) == (True, 0)
    assert {run.key for run, _ in told.reconciled} == set(keys)
    assert search.status(plan, state).done
    planning.write(plan, tmp_path)
    in_a_new_process = run_script(state, tmp_path, fake_path)
    assert "exit=0 nothing=True heavy=[]" in in_a_new_process.stdout  # neither Ray nor Optuna nor MLflow


READ = """
import json, sys
from wsgiref.util import setup_testing_defaults
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi
page = wsgi(JournalStorage(JournalFileBackend(sys.argv[1])))
def get(path):
    request = {}
    setup_testing_defaults(request)
    request["PATH_INFO"] = path
    return json.loads(b"".join(page(request, lambda *answer: None)))
studies = get("/api/studies")["study_summaries"]
trials = [t["state"] for s in studies for t in get(f"/api/studies/{s['study_id']}")["trials"]]
print(json.dumps([sorted(study["study_name"] for study in studies), trials]))
"""


def test_optuna_dashboard_shows_a_launch_while_it_runs(make_plan, launch, state, told, monkeypatch):
    pytest.importorskip("optuna_dashboard")
    plan = make_plan(methods=["original", "rkd"], search={"trials": 8, "grace_epochs": 1}, final={"seeds": 1})
    read = []

    def look(run, record):
        """In the driver's loop: the launch cannot end meanwhile."""
        told.ended_.append((run, record))
        if len(told.ended_) == 4:
            journal_file = str(state.launch("tiny") / "optuna.journal")
            command = [sys.executable, "-W", "ignore", "-c", READ, journal_file]
            read.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    monkeypatch.setattr(told, "ended", look)
    assert launch(plan).exit_code == 0
    names, trials = json.loads(read[0])
    assert names == sorted(journal.name(study) for study in plan.studies)
    assert {"Running"} < set(trials)
    assert len(trials) < 16


def test_failures_stay_where_they_belong_and_cost_no_worker(make_plan, launch, state):
    plan = make_plan(methods=["original", "hinton", "rkd", "at"])
    summary = launch(plan, hinton={"raise": 1}, rkd={"nan": 1}, at={"oom": 1})
    reasons = {
        method: Counter((r.state, r.reason) for r in results(state, "trial") if r.method == method)
        for method in ("original", "hinton", "rkd", "at")
    }
    assert set(reasons["hinton"]) == {("failed", "error")}
    assert reasons["rkd"] == {("diverged", "nan"): 4}
    assert {state_ for state_, _ in reasons["at"]} <= {"complete", "pruned"}  # alone they went well
    assert {state_ for state_, _ in reasons["original"]} <= {"complete", "pruned"}
    assert summary.exit_code == 1
    assert len(summary.missing) == 4 + 2  # hinton's finals, and rkd's tuned ones: its default ones diverged
    assert any("hinton" in note and "given up" in note for note in summary.notes)
    pids = Counter(call["pid"] for call in calls(state) if call["method"] in ("original", "hinton", "rkd"))
    assert len(pids) <= 4


def test_a_killed_worker_goes_on_from_its_checkpoint(make_plan, launch, state):
    plan = make_plan(methods=["original"], final={"seeds": 1})
    summary = launch(plan, trial={"die": 1, "sleep": 0.05})
    assert summary.exit_code == 0
    of_trials = [call for call in calls(state) if call["kind"] == "trial"]
    begun = Counter(call["key"] for call in of_trials)
    assert set(begun.values()) <= {1, 2} and 2 in begun.values()
    assert {call["from"] for call in of_trials if begun[call["key"]] == 2} == {0, 2}
    for trial in results(state, "trial"):
        assert [epoch.epoch for epoch in trial.history] == list(range(1, len(trial.history) + 1))
