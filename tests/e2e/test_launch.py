"""One tiny suite through the real command line: Ray, Optuna, MLflow and the report, nothing faked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from kdbench import data, records

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SUITE = """
name: tiny
dataset: digits
pairs: [{teacher: mlp-32x2, student: mlp-16x2}]
teacher: {epochs: 3}
training: {epochs: 3}
methods: [original, hinton, ban]
fractions: [1.0, 0.5]
search: {trials: 2, grace_epochs: 1}
final: {seeds: 2}
"""
TRIALS, TUNED, DEFAULTS, METHODS = 2, 2 * 2, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launch")
    (folder / "tiny.yaml").write_text(SUITE)
    ended = kdbench(folder, "launch", "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def kdbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("KDBENCH_HOME", "MLFLOW_"))
    }
    command = [str(Path(sys.executable).with_name("kdbench")), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'kdbench-runs' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> list[mlflow.entities.Run]:
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def of_kind(runs: list[mlflow.entities.Run], kind: str) -> list[mlflow.entities.Run]:
    return [run for run in runs if run.data.tags["kdbench.kind"] == kind]


def test_every_planned_run_has_one_record_and_one_run(folder, runs):
    kept = {record.key: record for record in records.read_all(folder / "kdbench-runs" / "results")}
    logged = [
        run.data.tags["kdbench.key"] for kind in ("trial", "final", "teacher") for run in of_kind(runs, kind)
    ]
    assert sorted(logged) == sorted(kept)
    assert all(record.state in ("complete", "pruned") for record in kept.values())
    assert len(of_kind(runs, "trial")) == METHODS * TRIALS
    assert len(of_kind(runs, "study")) == METHODS
    # The teacher of the pair, and the first generation of `ban` at both fractions.
    assert len(of_kind(runs, "teacher")) == 3
    both = sum(run.data.tags["kdbench.config"] == "tuned,default" for run in of_kind(runs, "final"))
    assert len(of_kind(runs, "final")) == METHODS * (TUNED + DEFAULTS) - both


def test_the_run_tree_hangs_together(runs):
    parents = {run.info.run_id: run for run in runs}
    (launch,) = of_kind(runs, "launch")
    for run in runs:
        if run is launch:
            continue
        parent = parents[run.data.tags["mlflow.parentRunId"]]
        expected = "study" if run.data.tags["kdbench.kind"] in ("trial", "final") else "launch"
        assert parent.data.tags["kdbench.kind"] == expected
        assert run.info.status == "FINISHED"


def test_the_test_split_is_for_finals_only(runs):
    for trial in of_kind(runs, "trial"):
        assert not [name for name in trial.data.metrics if name.startswith(("test/", "audit/", "eval/"))]
    for final in of_kind(runs, "final"):
        assert 0 < final.data.metrics["test/accuracy"] <= 1


def test_the_report_shows_each_method_at_each_fraction(folder, runs):
    out = folder / "reports" / "tiny"
    table = pd.read_csv(out / "leaderboard.csv")
    assert sorted(zip(table.method, table.fraction, strict=True)) == sorted(
        (method, fraction) for method in ("original", "hinton", "ban") for fraction in (0.5, 1.0)
    )
    assert (table.n == 2).all()
    finals = [run for run in of_kind(runs, "final") if "tuned" in run.data.tags["kdbench.config"]]
    for row in table.itertuples():
        values = [
            run.data.metrics["test/accuracy"]
            for run in finals
            if run.data.tags["kdbench.method"] == row.method
            and float(run.data.tags["kdbench.fraction"]) == row.fraction
        ]
        assert row.test_accuracy_mean == pytest.approx(np.mean(values), abs=1e-12)
    page = (out / "index.html").read_text()
    assert "leading" in page or "not tested" in page
    assert 'src="http' not in page and "@import" not in page


def test_a_registered_student_loads_elsewhere_and_is_as_accurate_as_logged(folder, client, tmp_path):
    spec = data.parse("digits", tmp_path)
    test = data.load_test(spec)
    np.savez(tmp_path / "test.npz", images=test.images.numpy(), labels=test.labels.numpy())
    version = client.get_model_version_by_alias("tiny.digits.mlp-32x2-mlp-16x2.hinton", "champion")
    run = client.get_run(version.run_id)
    program = (
        "import sys, numpy, torch, mlflow\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "test = numpy.load(sys.argv[2])\n"
        "model = mlflow.pytorch.load_model('models:/tiny.digits.mlp-32x2-mlp-16x2.hinton@champion')\n"
        "with torch.no_grad(): logits = model(torch.from_numpy(test['images']))\n"
        "print((logits.argmax(1).numpy() == test['labels']).mean())\n"
    )
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            f"sqlite:///{folder / 'kdbench-runs' / 'mlflow.db'}",
            str(tmp_path / "test.npz"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(loaded.stdout.split()[-1]) == pytest.approx(run.data.metrics["test/accuracy"], abs=1e-6)


def test_a_second_launch_finds_everything_done_and_changes_nothing(folder, client, runs):
    before = {path: path.read_bytes() for path in (folder / "kdbench-runs" / "results").iterdir()}
    ended = kdbench(folder, "launch", "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "everything is done" in ended.stdout
    assert {path: path.read_bytes() for path in (folder / "kdbench-runs" / "results").iterdir()} == before
    experiment = client.get_experiment_by_name("tiny")
    assert len(client.search_runs([experiment.experiment_id], max_results=1000)) == len(runs)


def test_more_trials_continue_the_study(folder, client):
    results = folder / "kdbench-runs" / "results"
    before = {path.name: json.loads(path.read_text()) for path in results.iterdir()}
    ended = kdbench(folder, "launch", "tiny.yaml", "--set", "search.trials=3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = {path.name: json.loads(path.read_text()) for path in results.iterdir()}
    assert {name: after[name] for name in before} == before
    new = [record for name, record in after.items() if name not in before]
    assert sorted(record["number"] for record in new if record["kind"] == "trial") == [2] * METHODS
