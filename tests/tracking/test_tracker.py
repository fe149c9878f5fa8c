"""What a launch says, and what of it is in MLflow: after its writer, after a crash, after a relaunch."""

import json
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.tracking import Tracker, settled, sync
from kdbench.tracking.operations import LAUNCH, Text
from kdbench.tracking.spool import Appender, waiting

PAIR = "resnet14->resnet8w4"
METHODS = ("original", "hinton")
RUNS = 1 + 2 + 2 * 2 + 2 * 2 * 2  # launch, studies, trials, finals at two fractions


@pytest.fixture
def client(home: Home) -> MlflowClient:
    return MlflowClient(home.mlflow_uri)


@pytest.fixture
def unsent(track: Callable[..., Tracker]) -> Callable[..., Tracker]:
    """Start a tracker whose writer dies at once: what it is told stays in the spool, for `sync`."""

    def start(of: Plan, uri: str = "") -> Tracker:
        tracker = track(of, uri)
        tracker._process.kill()
        return tracker

    return start


def play(tracker: Tracker, of: Plan, home: Home, make: Any) -> list[Any]:
    """A whole launch; returns what the driver would hand to `reconcile` the next time."""
    told = []
    for study in of.studies:
        for number in range(study.trials):
            run, record = make.trial(of, study, number)
            tracker.opened(run, record)
            for epoch in make.history(3):
                tracker.epoch(run, epoch)
            told.append((run, make.done(record, 0.8 + 0.1 * number)))
            tracker.ended(*told[-1])
        tracker.study_ended(study, told[-1][1])
        for run, record in make.tuned(of, study):
            tracker.opened(run, record)
            make.student(home, of, run)
            told.append((run, make.done(record, 0.8 + 0.01 * run.index)))
            tracker.ended(*told[-1])
    return told


def runs_of(client: MlflowClient, suite: str = "small") -> dict[str, Any]:
    """The experiment's runs by name, each of which is there once."""
    found = client.search_runs([client.get_experiment_by_name(suite).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


@pytest.fixture
def launched(small: Plan, home: Home, make: Any, unsent: Callable[..., Tracker], tmp_path: Path) -> list[Any]:
    """A finished launch in MLflow."""
    tracker = unsent(small)
    told = play(tracker, small, home, make)
    tracker.launch_metrics({"utilisation": 0.9})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<html></html>")
    tracker.log_report(tmp_path / "report")
    assert tracker.close() == waiting(home.launch("small") / "spool") > 50
    assert sync("small", uri=home.mlflow_uri, home=home) == 0
    return told


def test_every_run_is_there_once_and_closed(launched: list[Any], client: MlflowClient) -> None:
    runs = runs_of(client)
    assert len(runs) == RUNS
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    study = runs["original · resnet14→resnet8w4 · 100 %"]
    assert study.data.metrics["val/accuracy"] == pytest.approx(0.9)
    assert study.data.tags["kdbench.state"] == "complete"
    assert "Best: trial #01" in study.data.tags["mlflow.note.content"]
    finals = [run for run in runs.values() if run.data.tags["kdbench.kind"] == "final"]
    assert all(client.get_run(run.info.run_id).inputs.dataset_inputs for run in finals)


def test_plan_suite_environment_and_report_are_artifacts(launched: list[Any], client: MlflowClient) -> None:
    launch = runs_of(client)["launch · small"]
    assert launch.data.metrics["utilisation"] == 0.9

    def text(path: str) -> str:
        return Path(client.download_artifacts(launch.info.run_id, path)).read_text()

    assert text("report/index.html") == "<html></html>"
    assert json.loads(text("environment.json"))["packages"]["torch"]
    plan = json.loads(text("plan.json"))
    assert [study["space"]["lr"]["kind"] for study in plan["studies"]] == ["float", "float"]
    assert text("suite.yaml").startswith("name: small\n")


def test_the_best_student_of_each_study_and_fraction_is_kept(
    launched: list[Any], client: MlflowClient, home: Home
) -> None:
    models = client.search_logged_models([client.get_experiment_by_name("small").experiment_id])
    kept = sorted(client.get_run(model.source_run_id).info.run_name for model in models)
    assert kept == sorted(f"{m} · resnet14→resnet8w4 · {f} % · seed 1" for m in METHODS for f in (100, 50))
    assert len(list(home.students.glob("*.safetensors"))) == 4, "the others do not fill the disk"
    for method in METHODS:
        (version,) = client.search_model_versions(f"name = 'small.digits.resnet14-resnet8w4.{method}'")
        found = [version.tags[f"kdbench.{name}"] for name in ("method", "pair", "fraction", "test_accuracy")]
        assert found == [method, PAIR, "1.0", repr(0.81 - 0.01)]
        assert client.get_model_version_by_alias(version.name, "champion").version == version.version


def test_a_relaunch_adds_nothing(
    launched: list[Any], small: Plan, home: Home, unsent: Callable[..., Tracker], client: MlflowClient
) -> None:
    before = {name: (run.info.run_id, run.info.end_time) for name, run in runs_of(client).items()}
    again = unsent(small)
    again.reconcile(launched)
    again.close()
    assert sync("small", uri=home.mlflow_uri, home=home) == 0
    after = {name: (run.info.run_id, run.info.end_time) for name, run in runs_of(client).items()}
    launch = "launch · small"
    assert after.pop(launch)[0] == before.pop(launch)[0] and after == before
    models = client.search_logged_models([client.get_experiment_by_name("small").experiment_id])
    assert len(models) == 4
    assert len(client.search_model_versions()) == 2


def test_results_of_another_suite_are_marked(
    small: Plan, home: Home, make: Any, unsent: Callable[..., Tracker], client: MlflowClient, tmp_path: Path
) -> None:
    records = []
    for study in small.studies:
        for number in range(2):
            run, record = make.trial(small, study, number)
            records.append((run, make.done(record)))
    first = unsent(small)
    first.reconcile(records[:3])
    first.close()
    assert sync("small", uri=home.mlflow_uri, home=home) == 0
    assert not any("kdbench.reused" in run.data.tags for run in runs_of(client).values())
    other = make.plan(tmp_path, "name=other")
    assert {study.key for study in other.studies} == {study.key for study in small.studies}
    second = unsent(other)
    second.reconcile(records)
    second.close()
    assert sync("other", uri=home.mlflow_uri, home=home) == 0
    trials = [run for run in runs_of(client, "other").values() if run.data.tags["kdbench.kind"] == "trial"]
    assert sorted(run.data.tags.get("kdbench.reused", "") for run in trials) == ["", "true", "true", "true"]


def test_one_training_for_two_pairs_is_counted_in_one(
    home: Home, make: Any, unsent: Callable[..., Tracker], client: MlflowClient, tmp_path: Path
) -> None:
    pairs = "pairs=[{teacher: resnet14, student: resnet8w4}, {teacher: resnet20, student: resnet8w4}]"
    both = make.plan(tmp_path, pairs, "methods=[original]")
    tracker = unsent(both)
    runs = [make.trial(both, study, 0) for study in both.studies]
    assert len({run.key for run, _ in runs}) == 1 and len({run.pair for run, _ in runs}) == 2
    for run, record in runs:
        tracker.opened(run, record)
    for run, record in runs:
        tracker.ended(run, make.done(record))
    tracker.close()
    assert sync("small", uri=home.mlflow_uri, home=home) == 0
    trials = [run for run in runs_of(client).values() if run.data.tags["kdbench.kind"] == "trial"]
    assert [run.data.tags.get("kdbench.reused") for run in trials].count("true") == 1 and len(trials) == 2


def test_what_mlflow_refuses_is_set_aside_and_tried_again(
    small: Plan, home: Home, unsent: Callable[..., Tracker], client: MlflowClient
) -> None:
    unsent(small).close()
    spool = home.launch("small") / "spool"
    appender = Appender(spool)
    appender.append(Text(LAUNCH, "x", "../../escape.txt"))
    appender.close()
    assert sync("small", uri=home.mlflow_uri, home=home) == 1
    assert runs_of(client)["launch · small"].info.status == "FINISHED", "the rest arrived"
    assert sync("small", uri=home.mlflow_uri, home=home) == 1, "still refused, still kept"
    (spool / "refused.jsonl").unlink()
    assert sync("small", uri=home.mlflow_uri, home=home) == 0


def test_a_store_that_is_away_is_told_by_sync(
    small: Plan, home: Home, unsent: Callable[..., Tracker]
) -> None:
    left = unsent(small).close()
    with pytest.raises(UserError, match="does not answer"):
        sync("small", uri="http://127.0.0.1:9", home=home)
    assert waiting(home.launch("small") / "spool") == left > 0


@pytest.fixture
def hanging() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_driver_waits_for_no_server_and_imports_no_mlflow(
    small: Plan, home: Home, make: Any, hanging: str, tmp_path: Path
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    given = tmp_path / "given.pickle"
    given.write_bytes(pickle.dumps((small, home, hanging, run, record, make.history(1)[0])))
    script = (
        "import pickle, sys\n"
        "from kdbench.tracking import Tracker\n"
        "of, home, uri, run, record, epoch = pickle.load(open(sys.argv[1], 'rb'))\n"
        "tracker = Tracker(of, uri=uri, home=home, launch_folder=home.launch('small'))\n"
        "tracker.opened(run, record)\n"
        "for _ in range(2000):\n"
        "    tracker.epoch(run, epoch)\n"
        "assert 'mlflow' not in sys.modules\n"
        "tracker._process.kill()\n"
        "print(tracker.close())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(given)], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) > 2000


@pytest.mark.slow
def test_the_writer_sends_while_the_launch_runs(
    small: Plan, home: Home, make: Any, track: Callable[..., Tracker], client: MlflowClient
) -> None:
    tracker = track(small)
    told = play(tracker, small, home, make)
    assert tracker.flush() == 0
    runs = runs_of(client)
    assert len(runs) == RUNS and runs["launch · small"].info.status == "RUNNING"
    assert tracker.close() == 0
    assert runs_of(client)["launch · small"].info.status == "FINISHED"
    folder = home.launch("small")
    assert settled(folder, home.mlflow_uri, told)
    assert not settled(folder, home.mlflow_uri, told[:-1]) and not settled(folder, "http://other", told)
    (home.root / "mlflow.db").unlink()
    assert not settled(folder, home.mlflow_uri, told), "a store that is gone holds nothing"


@pytest.mark.slow
def test_what_a_killed_launch_had_said_arrives(
    small: Plan, home: Home, make: Any, track: Callable[..., Tracker], client: MlflowClient, tmp_path: Path
) -> None:
    trials = [make.trial(small, study, number) for study in small.studies for number in range(2)]
    told = [(run, record, make.done(record)) for run, record in trials]
    (tmp_path / "told.pickle").write_bytes(pickle.dumps((small, home, told)))
    script = (
        "import os, pickle, signal, sys\n"
        "from kdbench.tracking import Tracker\n"
        "of, home, told = pickle.load(open(sys.argv[1], 'rb'))\n"
        "tracker = Tracker(of, uri=home.mlflow_uri, home=home, launch_folder=home.launch('small'))\n"
        "for run, record, done in told:\n"
        "    tracker.opened(run, record)\n"
        "    tracker.ended(run, done)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "told.pickle")])
    assert killed.returncode == -signal.SIGKILL
    assert track(small).close() == 0, "its writer, which outlives it, and the next one's take turns"
    assert len(runs_of(client)) == 1 + 2 + 4
