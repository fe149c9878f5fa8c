"""What a plan consists of, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kdbench.data.spec import Facts
from kdbench.methods.contract import Scalar
from kdbench.search.domain import Domain
from kdbench.suite import Suite
from kdbench.training.job import ImportedTeacher, Job

Config = Literal["tuned", "default", "tuned,default"]


@dataclass(frozen=True)
class PlannedTeacher:
    """A network to train before the studies that distil it."""

    key: str
    name: str  # "resnet14"
    job: Job


@dataclass(frozen=True)
class Study:
    """One search: dataset x pair x method x searched fraction.

    Methods that use no pair's teacher have the same key in every pair with the same student: the same work,
    done once and reported in each pair.
    """

    key: str  # over all that defines the search but `trials`
    label: str  # the method's label in the report: its name, or the suite's `as`
    method: str  # registered name or composition
    pair: str  # "resnet14->resnet8w4"
    student: str
    teacher: Job | ImportedTeacher | None
    teacher_key: str | None
    fraction: float
    space: Mapping[str, Domain]  # method's and shared training parameters
    default: Mapping[
        str, Scalar
    ]  # a value for every hyperparameter and for lr and weight_decay, searched or not
    enqueued: tuple[Mapping[str, Scalar], ...]  # searched parameters of trial 0 (the default), trial 1, …
    trials: int


@dataclass(frozen=True)
class FinalSlot:
    """A final run of the tuned configuration: its key is known when its study has ended."""

    study: str  # key of the study whose best configuration it uses
    label: str
    pair: str
    fraction: float
    index: int  # j of derive(seed, "final", dataset, j)
    seed: int


@dataclass(frozen=True)
class Run:
    """The identity of one run under one suite and pair: what MLflow and the report know it by."""

    kind: Literal["trial", "final", "teacher"]
    key: str
    label: str  # method label; the model's name (or the imported teacher's) for a teacher
    pair: str  # "" for a teacher
    fraction: float
    seed: int
    study: str = ""  # key of the study; "" for a teacher
    search_fraction: float | None = None  # of the study
    number: int = -1  # of a trial, from 0
    index: int = -1  # of a final, from 0: the j of its seed
    config: Config | None = None  # of a final
    teacher_key: str | None = None


@dataclass(frozen=True)
class Plan:
    """The whole of a launch. Ordered: equal suites give equal plans."""

    suite: Suite
    facts: Facts
    device: str  # "cpu" or "cuda": part of every key
    teachers: tuple[PlannedTeacher, ...]
    studies: tuple[Study, ...]
    finals: tuple[FinalSlot, ...]  # tuned
    defaults: tuple[tuple[Run, Job], ...]  # default configuration, keys known
    versions: Mapping[str, str] = field(default_factory=dict)  # of torch and of the training: in every key
