"""A Job says everything that determines one training; its key is the identity of the result."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from kdbench.keys import content_key
from kdbench.methods.contract import Scalar
from kdbench.training.recipe import Recipe

# Bumped by hand whenever the same Job would train to other bits; tests/training/test_golden.py guards it.
TRAINING_VERSION = 2


@dataclass(frozen=True)
class Split:
    """Which images are validation and which of the rest are used: stratified, nested, from a seed."""

    validation: float  # share of the training images held out, in (0, 1)
    seed: int  # the suite's
    fraction: float = 1.0  # of the images left, in (0, 1]
    omit_classes: tuple[int, ...] = ()  # left out of the student's training images only


@dataclass(frozen=True)
class ImportedTeacher:
    """A teacher trained elsewhere: identified by the content of its weights."""

    model: str
    weights: str  # path of a safetensors file
    digest: str  # SHA-256 of that file
    mean: tuple[float, ...] | None = None  # the normalisation it was trained with; None: the dataset's
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Job:
    """One network to train: a student (a method, perhaps a teacher) or a teacher (`original`, no teacher)."""

    dataset: Mapping[str, Any]  # how to open it (kdbench.data.DatasetSpec as a mapping); not part of the key
    dataset_hash: str  # content hash of the dataset; part of the key
    split: Split
    model: str
    recipe: Recipe  # with the searched lr and weight_decay filled in
    seed: int
    method: str = "original"
    hyperparameters: Mapping[str, Scalar] = dataclasses.field(
        default_factory=dict
    )  # all of the method's, resolved
    teacher: "Job | ImportedTeacher | None" = None
    views: str | int = "auto"  # of the teacher's outputs: auto | none | live | k augmented views


def teacher_key(teacher: "Job | ImportedTeacher | None", device_type: str) -> str | None:
    """Key of a planned or imported teacher; None where there is none."""
    if isinstance(teacher, ImportedTeacher):
        identity = dataclasses.asdict(teacher)
        del identity["weights"]  # where the file lies says nothing about what is in it
        return content_key({"imported": identity})
    return None if teacher is None else job_key(teacher, device_type)


def job_key(job: Job, device_type: str) -> str:
    """Content key of a final or teacher training on `device_type` ("cpu", "cuda")."""
    identity = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    del identity["dataset"]
    identity["teacher"] = teacher_key(job.teacher, device_type)
    identity |= {
        "precision": "bf16" if device_type == "cuda" else "float32",
        "training_version": TRAINING_VERSION,
        "torch": torch.__version__,
        "device": device_type,
    }
    if job.teacher is None:
        del identity["views"]
    return content_key(identity)


def job_of(values: Mapping[str, Any]) -> Job:
    """The Job that `dataclasses.asdict` made these values of, perhaps through JSON."""
    fields = dict(values)
    split = dict(fields["split"])
    split["omit_classes"] = tuple(split["omit_classes"])
    fields |= {"split": Split(**split), "recipe": Recipe(**fields["recipe"])}
    teacher = fields.get("teacher")
    if teacher is not None and "digest" in teacher:
        statistics = {name: teacher[name] and tuple(teacher[name]) for name in ("mean", "std")}
        fields["teacher"] = ImportedTeacher(**{**teacher, **statistics})
    elif teacher is not None:
        fields["teacher"] = job_of(teacher)
    return Job(**fields)
