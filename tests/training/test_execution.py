import dataclasses
import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from misbehaving import Broken, Nan, Recording
from torch import nn

from kdbench import data, models
from kdbench.data import Facts
from kdbench.home import Home
from kdbench.methods.contract import Batch, Method
from kdbench.records import Epoch
from kdbench.training import (
    EVALUATION_VERSION,
    Outcome,
    evaluate_again,
    execute,
    execution,
    load_network,
)
from kdbench.training.job import ImportedTeacher, Job, job_key, job_of

MakeJob = Callable[..., Job]
Register = Callable[[type[Method]], str]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    execution.forget()
    return Home(tmp_path / "home")


@pytest.fixture
def teacher_job(make_job: MakeJob) -> Job:
    return make_job({"epochs": 2}, model="resnet8w4", seed=77)


def _run(job: Job, kind: str, home: Home, **more: object) -> Outcome:
    return execute(job, kind=kind, key=job_key(job, "cpu"), home=home, device="cpu", **more)  # type: ignore[arg-type]


def _no_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("the test split was opened")

    monkeypatch.setattr(data, "load_test", refuse)


def test_a_trial_never_opens_the_test_split(
    make_job: MakeJob, home: Home, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_test_split(monkeypatch)
    monkeypatch.setattr(data, "facts", _no_test_split)  # finding them out reads both splits
    told: list[Epoch] = []
    outcome = _run(make_job(), "trial", home, facts=facts, on_epoch=told.append)
    assert (outcome.state, outcome.reason, outcome.message) == ("complete", None, "")
    assert outcome.history == tuple(told)
    assert outcome.test == {}
    assert outcome.evaluation == 0
    assert outcome.device == "cpu, 1 thread"
    assert not any("test" in name for epoch in told for name in epoch.metrics)
    assert not home.students.exists()
    assert list((home.checkpoints / job_key(make_job(), "cpu")).iterdir())


def test_a_final_is_evaluated_and_kept(make_job: MakeJob, home: Home, facts: Facts) -> None:
    job = make_job()
    outcome = _run(job, "final", home, keep_student=True)
    assert outcome.state == "complete"
    assert outcome.evaluation == EVALUATION_VERSION
    assert outcome.history[-1].metrics["audit/test_accuracy"] == outcome.test["test/accuracy"]
    assert "eval/agreement" not in outcome.test, "nobody to agree with"
    weights = home.students / f"{job_key(job, 'cpu')}.safetensors"
    student, description = load_network(weights)
    assert description.key == job_key(job, "cpu")
    assert (description.model, description.shape, description.multi_exit) == (job.model, facts.shape, False)
    assert (description.classes, description.mean, description.std) == (facts.classes, facts.mean, facts.std)
    assert job_of(description.job) == job
    test = data.load_test(data.DatasetSpec("digits"))
    with torch.no_grad():
        logits = student(data.normalise(test.images, facts.mean, facts.std)).logits
    assert float((logits.argmax(1) == test.labels).double().mean()) == outcome.test["test/accuracy"]


def test_an_outcome_is_json(make_job: MakeJob, home: Home) -> None:
    outcome = _run(make_job(), "final", home)
    assert json.loads(json.dumps(dataclasses.asdict(outcome)))["state"] == "complete"


def test_the_teacher_is_trained_kept_and_used(make_job: MakeJob, home: Home, teacher_job: Job) -> None:
    job = make_job(method="hinton", teacher=teacher_job)
    with pytest.raises(FileNotFoundError, match=job_key(teacher_job, "cpu")):
        _run(job, "trial", home)  # no fault of the job's: it gets no outcome

    taught = _run(teacher_job, "teacher", home)
    assert taught.state == "complete"
    assert "test/accuracy" in taught.test
    assert (home.teachers / f"{job_key(teacher_job, 'cpu')}.safetensors").exists()
    outcome = _run(job, "final", home)
    assert outcome.state == "complete"
    assert "eval/agreement" in outcome.test, "the teacher of the pair is the method's"


def test_a_final_without_a_teacher_is_compared_with_its_pairs(
    make_job: MakeJob, home: Home, teacher_job: Job
) -> None:
    _run(teacher_job, "teacher", home)
    assert "eval/boundary_pairs" in _run(make_job(), "final", home, pair_teacher=teacher_job).test


def test_an_earlier_generation_is_not_the_pairs_teacher(
    make_job: MakeJob, home: Home, teacher_job: Job
) -> None:
    generation = dataclasses.replace(teacher_job, model="resnet8w2")
    for job in (teacher_job, generation):
        _run(job, "teacher", home)
    born_again = make_job(method="ban", teacher=generation)
    assert "eval/agreement" not in _run(born_again, "final", home).test
    again = make_job(method="ban", teacher=generation, seed=9)
    compared = _run(again, "final", home, pair_teacher=teacher_job).test
    assert "eval/agreement" in compared
    assert "eval/ensemble_accuracy" in compared


def test_a_kept_student_is_evaluated_again(make_job: MakeJob, home: Home, teacher_job: Job) -> None:
    _run(teacher_job, "teacher", home)
    for method in ("hinton", "byot"):
        job = make_job(method=method, teacher=teacher_job if method == "hinton" else None)
        first = _run(job, "final", home, keep_student=True, pair_teacher=teacher_job).test
        weights = home.students / f"{job_key(job, 'cpu')}.safetensors"
        again = evaluate_again(weights, home=home, device="cpu", pair_teacher=teacher_job)
        assert {k: v for k, v in first.items() if "latency" not in k} == {
            k: v for k, v in again.items() if "latency" not in k
        }
    assert load_network(weights)[1].multi_exit
    plain = models.load("resnet8w2", weights, shape=(1, 8, 8), classes=10)
    assert torch.equal(plain.linear.weight, load_network(weights)[0].backbone.linear.weight)


def test_omitted_classes_are_evaluated(make_job: MakeJob, home: Home) -> None:
    split = dataclasses.replace(make_job().split, omit_classes=(3,))
    outcome = _run(make_job(split=split), "final", home)
    assert "eval/bias_validation" in outcome.test
    assert "audit/bias_test" in outcome.test


def test_divergence_is_an_outcome(make_job: MakeJob, home: Home, registered: Register) -> None:
    outcome = _run(make_job(method=registered(Nan)), "final", home, keep_student=True)
    assert (outcome.state, outcome.reason) == ("diverged", "nan")
    assert len(outcome.history) == 1
    assert outcome.test == {}
    assert outcome.time["time/updates"] == 2
    assert not home.students.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such layer"), "error"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB"), "oom"),
        (RuntimeError("shapes do not match"), "error"),
    ],
)
def test_failures_are_outcomes(
    make_job: MakeJob, home: Home, registered: Register, error: Exception, reason: str
) -> None:
    class Raising(Broken):
        pass

    Raising.error = error
    job = make_job(method=registered(Raising))
    outcomes = [_run(job, "trial", home) for _ in range(2)]
    assert {outcome.state for outcome in outcomes} == {"failed"}
    assert {outcome.reason for outcome in outcomes} == {reason}
    assert type(error).__name__ in outcomes[0].message
    assert "training/loop.py:" in outcomes[0].message, "the last line of kdbench's own"
    assert outcomes[0].message == outcomes[1].message


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt()])
def test_a_stopped_process_stops(
    make_job: MakeJob, home: Home, registered: Register, error: BaseException
) -> None:
    class Stopping(Broken):
        pass

    Stopping.error = error
    with pytest.raises(type(error)):
        _run(make_job(method=registered(Stopping)), "trial", home)


def test_other_images_than_planned_are_refused(make_job: MakeJob, home: Home) -> None:
    outcome = _run(make_job(dataset_hash="0" * 64), "trial", home)
    assert outcome.reason == "error"
    assert "other images" in outcome.message


def test_a_pair_that_cannot_run_the_method_says_why(make_job: MakeJob, home: Home, teacher_job: Job) -> None:
    _run(teacher_job, "teacher", home)
    outcome = _run(make_job(method="at", model="mlp-8x2", teacher=teacher_job), "trial", home)
    assert outcome.reason == "error"
    assert "feature maps" in outcome.message


def _imported(
    tmp_path: Path, facts: Facts, **statistics: tuple[float, ...]
) -> tuple[nn.Module, ImportedTeacher]:
    network = models.build("resnet8w4", shape=facts.shape, classes=10, seed=3)
    weights = models.save(network, tmp_path / "given.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return network.eval(), ImportedTeacher("resnet8w4", str(weights), digest, **statistics)


def test_an_imported_teacher_sees_images_in_its_own_normalisation(
    make_job: MakeJob, home: Home, registered: Register, facts: Facts, tmp_path: Path
) -> None:
    network, teacher = _imported(tmp_path, facts, mean=(0.5,), std=(0.25,))
    seen: list[Batch] = []

    class Seen(Recording):
        pass

    Seen.show = staticmethod(seen.append)
    Seen.teacher = "pair"
    label = registered(dataclasses.dataclass(frozen=True)(Seen))
    job = make_job({"epochs": 1, "augment": "none"}, method=label, teacher=teacher)
    assert _run(job, "trial", home).state == "complete"
    batch = seen[0]
    pixels = batch.images * facts.std[0] + facts.mean[0]
    with torch.no_grad():
        expected = network((pixels - 0.5) / 0.25).logits
    torch.testing.assert_close(batch.teacher_outputs.logits, expected, rtol=1e-4, atol=1e-4)


def test_changed_weights_of_an_imported_teacher_are_refused(
    make_job: MakeJob, home: Home, facts: Facts, tmp_path: Path
) -> None:
    _, teacher = _imported(tmp_path, facts)
    job = make_job(method="hinton", teacher=dataclasses.replace(teacher, digest="0" * 64))
    outcome = _run(job, "trial", home)
    assert outcome.reason == "error"
    assert "has changed" in outcome.message


def test_data_and_teachers_stay_in_the_process(
    make_job: MakeJob, home: Home, teacher_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(teacher_job, "teacher", home)
    job = make_job(method="hinton", teacher=teacher_job)
    _run(job, "trial", home)
    monkeypatch.setattr(data, "make_training", None)
    monkeypatch.setattr(execution, "load_network", None)
    assert _run(dataclasses.replace(job, seed=2), "trial", home).state == "complete"
    execution.forget()
    assert _run(dataclasses.replace(job, seed=3), "trial", home).state == "failed"


def test_threads_are_set(make_job: MakeJob, home: Home) -> None:
    assert _run(make_job({"epochs": 1}), "trial", home, threads=2).device == "cpu, 2 threads"
    assert torch.get_num_threads() == 2


def test_a_job_survives_json(make_job: MakeJob, teacher_job: Job) -> None:
    imported = ImportedTeacher("resnet26", "/w.safetensors", "ab", mean=(0.5,), std=(0.2,))
    for teacher in (None, teacher_job, imported, dataclasses.replace(imported, mean=None, std=None)):
        job = make_job({"schedule": {"step": {"at": [0.5], "gamma": 0.1}}}, teacher=teacher, views=2)
        assert job_of(json.loads(json.dumps(dataclasses.asdict(job)))) == job


@pytest.mark.parametrize("damage", ["version", "json", "weights"])
def test_a_saved_network_that_is_not_whole_is_refused(make_job: MakeJob, home: Home, damage: str) -> None:
    job = make_job({"epochs": 1})
    _run(job, "trial", home, keep_student=True)
    weights = home.students / f"{job_key(job, 'cpu')}.safetensors"
    description = weights.with_suffix(".json")
    if damage == "version":
        description.write_text(json.dumps({**json.loads(description.read_text()), "version": 0}))
    else:
        (description if damage == "json" else weights).unlink()
    with pytest.raises(ValueError if damage == "version" else FileNotFoundError):
        load_network(weights)
