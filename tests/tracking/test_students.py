"""Kept students: what is loaded elsewhere computes what was trained here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from kdbench import data, models, tracking
from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.models import MultiExit
from kdbench.plan import Plan
from kdbench.tracking.operations import Student
from kdbench.tracking.store import Store
from kdbench.tracking.student import of_network, open_folder
from kdbench.tracking.tree import Tree
from kdbench.training.inference import predict, score
from kdbench.training.inputs import Pixels
from kdbench.training.saved import load_network, save_network

CPU = torch.device("cpu")
NAME = "small.digits.resnet14-resnet8w4.hinton"


@pytest.fixture
def client(home: Home) -> MlflowClient:
    return MlflowClient(home.mlflow_uri)


@pytest.fixture
def kept(small: Plan, home: Home, make: Any) -> tuple[Student, Store]:
    """A champion in MLflow, whose logged accuracy is its true one."""
    study = next(study for study in small.studies if study.label == "hinton")
    run, record = make.tuned(small, study)[0]
    weights = make.student(home, small, run)
    done = make.done(record, test={"test/accuracy": accuracy(weights, small)})
    tree, store = Tree(small, "abc123"), Store(home.mlflow_uri, "small", home.artifacts)
    student = tree.student(run, done, weights, True)
    for operation in (tree.launch(), tree.study(study), tree.run(run, done), student):
        store.apply(operation)
    return student, store


def accuracy(weights: Path, of: Plan) -> float:
    """As a training evaluates it."""
    model, _ = load_network(weights)
    test = data.load_test(of.suite.dataset)
    return score(predict(model, test.images, Pixels(of.facts, CPU)), test.labels).accuracy


LOADER = """
import json, sys
import mlflow, numpy as np, torch
from kdbench import data
uri, name = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.pytorch.load_model(f"models:/{name}@champion")
pyfunc = mlflow.pyfunc.load_model(f"models:/{name}@champion")
test = data.load_test(data.parse("digits", __import__("pathlib").Path()))
found = {"training": model.training, "dtype": str(model(test.images[:1]).dtype)}
for size in (1, 7, len(test)):
    with torch.no_grad():
        logits = model(test.images[:size]).numpy()
    np.testing.assert_allclose(pyfunc.predict(test.images[:size].numpy()), logits, atol=1e-6)
found["accuracy"] = float((logits.argmax(1) == test.labels.numpy()).mean())
found["inputs"] = str(pyfunc.metadata.get_input_schema())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_champion_loads_in_a_process_that_never_trained_it(
    kept: tuple[Student, Store], home: Home, client: MlflowClient
) -> None:
    run = client.get_model_version_by_alias(NAME, "champion").run_id
    logged = client.get_run(run).data.metrics["test/accuracy"]
    shutil.rmtree(home.students)
    command = [sys.executable, "-W", "ignore", "-c", LOADER, home.mlflow_uri, NAME]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert answer["accuracy"] == pytest.approx(logged, abs=1e-6)
    assert answer["dtype"] == "torch.float32" and answer["training"] is False
    assert "uint8" in answer["inputs"] and "-1, 1, 8, 8" in answer["inputs"]


def test_the_same_student_is_registered_once_and_a_new_champion_takes_over(
    kept: tuple[Student, Store], small: Plan, home: Home, make: Any, client: MlflowClient
) -> None:
    student, store = kept
    store.apply(student)
    Store(home.mlflow_uri, "small", home.artifacts).apply(student)
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert version.tags["kdbench.key"] == student.key
    study = next(study for study in small.studies if study.label == "hinton")
    run, record = make.tuned(small, study)[1]
    other = Tree(small, "").student(run, make.done(record), make.student(home, small, run), True)
    store.apply(Tree(small, "").run(run, make.done(record)))
    store.apply(other)
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    assert client.get_model_version_by_alias(NAME, "champion").tags["kdbench.key"] == other.key


def test_the_model_page_shows_the_metrics_of_its_last_epoch(
    kept: tuple[Student, Store], client: MlflowClient
) -> None:
    experiment = client.get_experiment_by_name("small").experiment_id
    (model,) = client.search_logged_models([experiment])
    metrics = {metric.key for metric in model.metrics}
    assert {"test/accuracy", "val/accuracy"} <= metrics
    history = client.get_metric_history(model.source_run_id, "val/accuracy")
    assert sorted(point.step for point in history) == [1, 2, 3], "and the run's own history is as it was"
    assert model.params["temperature"] == "4.0" and model.name == "student"


def test_a_half_written_model_of_a_crash_is_replaced(
    kept: tuple[Student, Store], client: MlflowClient
) -> None:
    student, store = kept
    experiment = client.get_experiment_by_name("small").experiment_id
    (model,) = client.search_logged_models([experiment])
    client.delete_logged_model(model.model_id)
    client.create_logged_model(experiment, "student", model.source_run_id)
    store.apply(student)
    (again,) = client.search_logged_models([experiment])
    assert again.status == "READY" and again.model_id != model.model_id


def test_weights_that_are_gone_are_no_model(
    small: Plan, home: Home, make: Any, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run, record = make.tuned(small, small.studies[0])[0]
    tree, store = Tree(small, ""), Store(home.mlflow_uri, "small", home.artifacts)
    store.apply(tree.run(run, make.done(record)))
    store.apply(tree.student(run, make.done(record), home.students / "gone.safetensors", True))
    assert "was not kept" in caplog.text and not client.search_registered_models()


def test_of_a_multi_exit_student_the_deepest_exit_is_kept(small: Plan, tmp_path: Path) -> None:
    facts, job = small.facts, small.defaults[0][1]
    inner = models.build(job.model, shape=facts.shape, classes=10, seed=1)
    save_network(MultiExit(inner, facts.shape, 10, seed=2), tmp_path, "key", job, facts)
    student = of_network(tmp_path / "key.safetensors")
    images = torch.arange(5 * 64, dtype=torch.uint8).view(5, 1, 8, 8)
    expected = inner.eval()(Pixels(facts, CPU)(images)).logits
    torch.testing.assert_close(student(images), expected, atol=1e-6, rtol=0)


def test_pixels_of_other_types_mean_the_same(small: Plan, tmp_path: Path, make: Any) -> None:
    run, _ = make.tuned(small, small.studies[0])[0]
    student = of_network(make.student(Home(tmp_path), small, run))
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = images.float()
    assert torch.equal(student(images), student(floats)) and torch.equal(floats, images.float())


def export(home: Home, out: Path, **changes: Any) -> Path:
    wanted: dict[str, Any] = {"label": "hinton", "pair": "resnet14->resnet8w4", "fraction": 1.0}
    return tracking.export(
        "small", uri=home.mlflow_uri, out=out, **{**wanted, "format": "safetensors", **changes}
    )


def test_safetensors_and_json_are_all_that_is_needed(
    kept: tuple[Student, Store], home: Home, tmp_path: Path
) -> None:
    out = export(home, tmp_path / "exported" / "student")
    assert out.name == "student.safetensors"
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["model"] == "resnet8w4" and card["method"] == "hinton" and len(card["classes"]) == 10
    images = torch.arange(5 * 64, dtype=torch.uint8).view(5, 1, 8, 8)
    expected = of_network(Path(kept[0].weights))(images)
    assert torch.equal(open_folder(out.parent)(images), expected)
    out.with_suffix(".json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(ValueError, match="format"):
        open_folder(out.parent)


@pytest.mark.parametrize(
    "changes", [{"label": "bss"}, {"fraction": 0.5}, {"pair": "a->b"}], ids=["method", "fraction", "pair"]
)
def test_a_student_that_is_not_there_is_told_with_those_that_are(
    kept: tuple[Student, Store], home: Home, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"hinton resnet14->resnet8w4 1\.0"):
        export(home, tmp_path / "student", **changes)


@pytest.mark.slow
def test_programs_agree_with_torch_at_any_batch_size(
    kept: tuple[Student, Store], home: Home, tmp_path: Path
) -> None:
    import onnxruntime

    student = of_network(Path(kept[0].weights))
    program = torch.export.load(export(home, tmp_path / "student.pt2", format="pt2")).module()
    session = onnxruntime.InferenceSession(str(export(home, tmp_path / "student", format="onnx")))
    generator = torch.Generator().manual_seed(1)
    for size in (1, 7, 64):
        images = torch.randint(256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator)
        expected = student(images).detach()
        torch.testing.assert_close(program(images).detach(), expected, atol=1e-4, rtol=0)
        (logits,) = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
