"""Names, tags, params and metrics: the table that docs/mlflow.md explains and reports rely on."""

import dataclasses
from typing import Any

import pytest

from kdbench import plan
from kdbench.plan import Plan
from kdbench.records import Epoch, Record
from kdbench.tracking.tree import Tree

PAIR = "resnet14->resnet8w4"
COMMON = {"suite", "dataset", "dataset_hash", "current", "device", "commit", "kind"}
TRAINING = {"method", "fraction", "seed", "key", "model", "state", "slot"}
IN_STUDY = {"pair", "search_fraction", "study", "protocol", "protocol_label"}


@pytest.fixture
def tree(small: Plan) -> Tree:
    return Tree(small, "abc123")


def tags(write_tags: dict[str, str]) -> dict[str, str]:
    """kdbench's own tags that have a value, without their prefix."""
    return {
        name.removeprefix("kdbench."): value
        for name, value in write_tags.items()
        if name.startswith("kdbench.") and value
    }


def test_the_launch_is_named_after_its_suite(small: Plan, tree: Tree) -> None:
    write = tree.launch()
    assert write.name == "launch · small" and write.parent == "" and write.status == "RUNNING"
    assert set(tags(write.tags)) == COMMON | {"seed"}
    assert tags(write.tags)["kind"] == "launch"


def test_a_study_says_what_is_searched(small: Plan, tree: Tree) -> None:
    study = next(study for study in small.studies if study.label == "hinton")
    write = tree.study(study, "running")
    found = tags(write.tags)
    assert write.name == "hinton · resnet14→resnet8w4 · 100 %" and write.parent == "launch||"
    assert set(found) == COMMON | IN_STUDY | {"method", "fraction", "key", "model", "state", "teacher_key"}
    assert (found["kind"], found["method"], found["pair"], found["fraction"]) == (
        "study",
        "hinton",
        PAIR,
        "1.0",
    )
    assert found["key"] == found["study"] == study.key
    assert "temperature" in write.tags["mlflow.note.content"]


def test_a_trial_has_all_its_tags(small: Plan, tree: Tree, make: Any) -> None:
    study = next(study for study in small.studies if study.label == "hinton")
    run, record = make.trial(small, study, 1)
    write, found = tree.run(run, record), tags(tree.run(run, record).tags)
    assert write.name == "hinton · resnet14→resnet8w4 · 100 % · #01"
    assert write.parent == f"study|{PAIR}|{study.key}" and write.status == "RUNNING" and write.ended == 0
    assert set(found) == COMMON | TRAINING | IN_STUDY | {"trial", "teacher_key"}
    assert (
        found | {"trial": "1", "state": "running", "slot": "1.0", "fraction": "1.0", "current": "true"}
        == found
    )
    assert write.params["lr"] == "0.02" and set(write.params) == {
        "temperature",
        "alpha",
        "lr",
        "weight_decay",
    }


def test_a_final_says_which_configuration_it_is_and_has_results(small: Plan, tree: Tree, make: Any) -> None:
    study = next(study for study in small.studies if study.label == "original")
    run, record = next(final for final in make.tuned(small, study) if final[0].fraction == 0.5)
    write = tree.run(run, make.done(record))
    found = tags(write.tags)
    assert write.name == "original · resnet14→resnet8w4 · 50 % · seed 0"
    assert set(found) == COMMON | TRAINING | IN_STUDY | {"config"}, (
        "no teacher, no trial, no reason: no such tags"
    )
    assert (found["config"], found["fraction"], found["search_fraction"]) == ("tuned", "0.5", "1.0")
    assert write.results["test/accuracy"] == pytest.approx(0.89) and write.step == 3
    assert {name for _, _, values in write.epochs for name in values} == {
        *("val/accuracy", "val/loss", "train/loss", "train/hard")
    }
    assert write.ended == int(1000 * (record.started + 2))


def test_a_teacher_hangs_below_the_launch(small: Plan, tree: Tree) -> None:
    planned = small.teachers[0]
    record = Record(
        key=planned.key,
        kind="teacher",
        state="complete",
        method="original",
        hyperparameters={},
        seed=planned.job.seed,
        job=dataclasses.asdict(planned.job),
        history=(Epoch(1, "distil", 1.0, {"val/accuracy": 0.9}),),
    )
    write = tree.run(plan.teacher_run(planned), record)
    assert write.name == "teacher resnet14 · 100 %" and write.parent == "launch||"
    assert set(tags(write.tags)) == COMMON | TRAINING
    assert tags(write.tags)["model"] == "resnet14"


@pytest.mark.parametrize(
    ("state", "reason", "status", "words"),
    [
        ("running", None, "RUNNING", "judged on validation"),
        ("complete", None, "FINISHED", "judged on validation"),
        ("pruned", None, "FINISHED", "stopped it early"),
        ("diverged", "nan", "FAILED", "not a number"),
        ("failed", "oom", "FAILED", "out of memory"),
        ("failed", "killed", "FAILED", "lost"),
        ("failed", "error", "FAILED", "Traceback of it"),
    ],
)
def test_states_and_statuses(
    small: Plan, tree: Tree, make: Any, state: str, reason: str | None, status: str, words: str
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    record = make.done(
        record, state=state, reason=reason, message="Traceback of it" if reason == "error" else ""
    )
    write = tree.run(run, record)
    assert write.status == status and write.tags["kdbench.state"] == state
    assert write.tags["kdbench.reason"] == (reason or ""), "empty: a reason of an earlier attempt goes"
    assert words in write.tags["mlflow.note.content"]


def test_a_champion_is_registered_under_a_name_that_mlflow_takes(small: Plan, tree: Tree, make: Any) -> None:
    from mlflow.utils.validation import _validate_model_name

    run, record = make.tuned(small, small.studies[1])[0]
    student = tree.student(dataclasses.replace(run, label="bss+fsp"), make.done(record), None, True)
    assert student.register == "small.digits.resnet14-resnet8w4.bss+fsp"
    _validate_model_name(student.register)
    odd = dataclasses.replace(run, pair="torchvision:resnet18/x->torchvision:alexnet")
    _validate_model_name(tree.student(odd, make.done(record), None, True).register)
    assert tree.student(run, make.done(record), None, False).register == ""
