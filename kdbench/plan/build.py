"""The plan of a suite: teachers, studies, final runs, in the suite's order."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kdbench import data, methods, models
from kdbench.data.spec import Facts
from kdbench.errors import Mistake, UserError
from kdbench.keys import content_key
from kdbench.methods.contract import Network, Scalar
from kdbench.plan.jobs import at_fraction, omitted, recipe_of, split_of, student_job, teacher_of
from kdbench.plan.values import FinalSlot, Plan, PlannedTeacher, Run, Study
from kdbench.search import spaces
from kdbench.search.domain import Domain
from kdbench.seeds import derive
from kdbench.suite import MethodEntry, Pair, Suite, TeacherChoice
from kdbench.training.job import TRAINING_VERSION, Job, job_key, teacher_key


def make_plan(suite: Suite, facts: Facts, labels: Sequence[int] | NDArray[np.int64], device: str) -> Plan:
    """Everything that a launch of `suite` will do on devices of type `device` ("cpu", "cuda").

    `labels` are those of the training split. Equal arguments give equal plans. Raises UserError with every
    mistake that only the data and the networks show: classes that do not exist or that a fraction empties,
    methods that a pair cannot run, two labels for the same work.
    """
    _refuse(itertools.chain(_data_mistakes(suite, facts, labels), _pair_mistakes(suite, facts)))
    studies = tuple(
        _study(suite, facts, device, pair, fraction, entry)
        for pair in suite.pairs
        for fraction in suite.search.fractions
        for entry in suite.methods
    )
    _refuse(_twins(studies))
    slots = tuple(
        FinalSlot(
            study=_nearest(studies, pair.title, entry.label, fraction).key,
            label=entry.label,
            pair=pair.title,
            fraction=fraction,
            index=index,
            seed=derive(suite.seed, "final", facts.name, index),
        )
        for pair in suite.pairs
        for fraction in suite.fractions
        for entry in suite.methods
        for index in range(suite.final.seeds)
    )
    return Plan(
        suite=suite,
        facts=facts,
        device=device,
        teachers=_teachers(suite, studies, device),
        studies=studies,
        finals=slots,
        defaults=tuple(_defaults(suite, facts, device, studies)) if suite.final.defaults else (),
        versions={"torch": torch.__version__, "training": str(TRAINING_VERSION)},
    )


def _study(suite: Suite, facts: Facts, device: str, pair: Pair, fraction: float, entry: MethodEntry) -> Study:
    method = methods.get(entry.method)
    overrides = {**suite.spaces.get(spaces.SHARED, {}), **suite.spaces.get(entry.label, {})}
    shared = {name: getattr(suite.training, name) for name in spaces.SHARED_NAMES}
    moved = {name: item.default for name, item in overrides.items() if item.default is not None}
    values = {**methods.resolve(entry.method), **shared, **moved, **entry.fixed}
    own = {name: value for name, value in values.items() if name not in shared}
    default = methods.resolve(entry.method, own) | {name: float(values[name]) for name in shared}
    space = {
        name: domain
        for name, domain in spaces.load(entry.method, overrides).items()
        if name not in entry.fixed and name not in method.fixed
    }
    teacher = teacher_of(suite, facts, pair, method.teacher, fraction)
    enqueued = _enqueued(space, default, method.published)
    search = suite.search
    identity = {
        "dataset": facts.content_hash,
        "split": split_of(suite, facts, fraction, omit=True),
        "student": pair.student,
        "teacher": teacher_key(teacher, device),
        "method": entry.method,
        "space": space,
        "default": default,
        "enqueued": enqueued,
        "sampler": search.sampler,
        "scheduler": [search.scheduler, search.grace_epochs, search.reduction_factor]
        if search.scheduler == "asha"
        else search.scheduler,
        "recipe": recipe_of(suite.training, facts),
        "seed": suite.seed,
        "views": suite.data.views if teacher is not None else None,
        "training_version": TRAINING_VERSION,
        "torch": torch.__version__,
        "device": device,
    }
    return Study(
        key=content_key(identity),
        label=entry.label,
        method=entry.method,
        pair=pair.title,
        student=pair.student,
        teacher=teacher,
        teacher_key=teacher_key(teacher, device),
        fraction=fraction,
        space=space,
        default=default,
        enqueued=enqueued,
        trials=search.trials,
    )


def _enqueued(
    space: Mapping[str, Domain], default: Mapping[str, Scalar], published: Mapping[str, Scalar]
) -> tuple[Mapping[str, Scalar], ...]:
    """The default point, then the setting of the published tables where that is another point."""
    first = {name: default[name] for name in space}
    second = first | {name: value for name, value in published.items() if name in space}
    inside = all(space[name].contains(value) for name, value in second.items())
    return (first, second) if inside and second != first else (first,)


def _teachers(suite: Suite, studies: Sequence[Study], device: str) -> tuple[PlannedTeacher, ...]:
    """Every network to train before its students, for searched fractions and all others, each once."""
    found: dict[str, PlannedTeacher] = {}
    for study in studies:
        need = methods.get(study.method).teacher
        for fraction in (study.fraction, *suite.fractions):
            teacher = at_fraction(suite, study.teacher, need, fraction)
            if isinstance(teacher, Job):
                key = job_key(teacher, device)
                found.setdefault(key, PlannedTeacher(key, teacher.model, teacher))
    return tuple(found.values())


def _nearest(studies: Sequence[Study], pair: str, label: str, fraction: float) -> Study:
    """The study that a final at `fraction` takes its configuration from; ties go to the larger fraction."""
    candidates = (study for study in studies if (study.pair, study.label) == (pair, label))
    # Rounded, so that 0.6 is as near to 0.2 as to 1.0.
    return min(candidates, key=lambda study: (round(abs(study.fraction - fraction), 9), -study.fraction))


def _defaults(suite: Suite, facts: Facts, device: str, studies: Sequence[Study]) -> Iterator[tuple[Run, Job]]:
    fraction = max(suite.fractions)
    for pair in suite.pairs:
        for entry in suite.methods:
            study = _nearest(studies, pair.title, entry.label, fraction)
            teacher = at_fraction(suite, study.teacher, methods.get(study.method).teacher, fraction)
            for index in range(suite.final.seeds):
                seed = derive(suite.seed, "final", facts.name, index)
                job = student_job(
                    suite,
                    facts,
                    student=study.student,
                    method=study.method,
                    teacher=teacher,
                    fraction=fraction,
                    values=study.default,
                    seed=seed,
                )
                run = Run(
                    kind="final",
                    key=job_key(job, device),
                    label=study.label,
                    pair=study.pair,
                    fraction=fraction,
                    seed=seed,
                    study=study.key,
                    search_fraction=study.fraction,
                    index=index,
                    config="default",
                    teacher_key=teacher_key(teacher, device),
                )
                yield run, job


def _data_mistakes(
    suite: Suite, facts: Facts, labels: Sequence[int] | NDArray[np.int64]
) -> Iterator[Mistake]:
    known = True
    try:
        omitted(suite, facts)
    except UserError as error:
        known = False
        yield from error.mistakes
    classes = np.asarray(labels, dtype=np.int64)
    for fraction in suite.fractions:
        try:
            data.split(classes, split_of(suite, facts, fraction, omit=known))
        except UserError as error:
            yield from error.mistakes
    for index, pair in enumerate(suite.pairs):
        yield from _imported_mistakes(pair.teacher, f"pairs.{index}.teacher", facts)


def _imported_mistakes(teacher: TeacherChoice, key: str, facts: Facts) -> Iterator[Mistake]:
    if teacher.weights is None:
        return
    if teacher.mean is not None and len(teacher.mean) != facts.shape[0]:
        allowed = f"{facts.shape[0]} numbers, one per channel of {facts.name}"
        yield Mistake(f"{key}.mean", str(teacher.mean), allowed)
    try:
        models.load(teacher.model, Path(teacher.weights), shape=facts.shape, classes=len(facts.classes))
    except UserError as error:
        yield from (replace(item, key=f"{key}.{item.key}") for item in error.mistakes)


def _pair_mistakes(suite: Suite, facts: Facts) -> Iterator[Mistake]:
    network = _networks(facts)
    for pair in suite.pairs:
        for index, entry in enumerate(suite.methods):
            own = methods.get(entry.method).teacher == "self"
            teacher = network(pair.student if own else pair.teacher.model)
            reason = methods.check(entry.method, network(pair.student), teacher)
            if reason is not None:
                given = f"{entry.method!r} for {pair.title}"
                yield Mistake(f"methods.{index}", given, f"methods that this pair can run: {reason}")


def _networks(facts: Facts) -> Callable[[str], Network]:
    @functools.cache
    def network(name: str) -> Network:
        classes = len(facts.classes)
        model = models.build(name, shape=facts.shape, classes=classes, seed=0)
        return models.network(model, name, facts.shape, classes)

    return network


def _twins(studies: Sequence[Study]) -> Iterator[Mistake]:
    """Two labels of one pair for the same work: they could not be told apart by what they are."""
    first: dict[tuple[str, str], str] = {}
    for study in studies:
        label = first.setdefault((study.pair, study.key), study.label)
        if label != study.label:
            yield Mistake("methods", f"{study.label!r}", f"entries that differ; it is {label!r} again")


def _refuse(mistakes: Iterator[Mistake]) -> None:
    found = tuple(dict.fromkeys(mistakes))
    if found:
        raise UserError(found)
