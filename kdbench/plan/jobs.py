"""The parts that every job of a plan is made of: splits, recipes, teachers, students."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kdbench import methods
from kdbench.data.spec import Facts
from kdbench.errors import UserError, mistake
from kdbench.methods.contract import Scalar, TeacherNeed
from kdbench.search.spaces import SHARED_NAMES
from kdbench.seeds import derive
from kdbench.suite import Pair, Suite, TeacherChoice
from kdbench.training.job import ImportedTeacher, Job, Split
from kdbench.training.recipe import Recipe


def split_of(suite: Suite, facts: Facts, fraction: float, *, omit: bool) -> Split:
    """The split at a fraction; `omit` for students, who may have to do without some classes."""
    share = suite.data.validation
    return Split(
        validation=facts.validation if share == "auto" else share,
        seed=suite.seed,
        fraction=fraction,
        omit_classes=omitted(suite, facts) if omit else (),
    )


def omitted(suite: Suite, facts: Facts) -> tuple[int, ...]:
    """The omitted classes as numbers, ascending. Raises UserError for names and numbers that are none."""
    found, mistakes = set(), []
    for item in suite.data.omit_classes:
        if isinstance(item, str) and item in facts.classes:
            found.add(facts.classes.index(item))
        elif isinstance(item, int) and item < len(facts.classes):
            found.add(item)
        else:
            allowed = f"classes of {facts.name}: {', '.join(facts.classes)}, or their numbers from 0"
            mistakes.append(mistake("data.omit_classes", item, allowed, names=facts.classes))
    if mistakes:
        raise UserError(mistakes)
    return tuple(sorted(found))


def recipe_of(recipe: Recipe, facts: Facts) -> Recipe:
    """The recipe with `auto` spelt out, so that saying it or not gives the same key."""
    return replace(recipe, augment=facts.augment) if recipe.augment == "auto" else recipe  # type: ignore[arg-type]


def teacher_of(
    suite: Suite, facts: Facts, pair: Pair, need: TeacherNeed, fraction: float
) -> Job | ImportedTeacher | None:
    """Whom a method distils that needs `need`, in a training at `fraction`."""
    if need == "none":
        return None
    if need == "self":
        return _teacher_job(suite, facts, pair.student, suite.training, fraction)
    if pair.teacher.weights is not None:
        return imported(pair.teacher)
    seen = 1.0 if suite.data.teacher_data == "full" else fraction
    return _teacher_job(suite, facts, pair.teacher.model, suite.teacher, seen)


def at_fraction(
    suite: Suite, teacher: Job | ImportedTeacher | None, need: TeacherNeed, fraction: float
) -> Job | ImportedTeacher | None:
    """A study's teacher as it is for a training at another fraction."""
    follows = need == "self" or suite.data.teacher_data == "fraction"
    if isinstance(teacher, Job) and follows:
        return replace(teacher, split=replace(teacher.split, fraction=fraction))
    return teacher


def imported(choice: TeacherChoice) -> ImportedTeacher:
    """The teacher in a weights file, known by that file's content."""
    path = Path(str(choice.weights))
    status = path.stat()
    digest = _digest(str(path), status.st_mtime_ns, status.st_size)
    return ImportedTeacher(choice.model, str(path), digest, choice.mean, choice.std)


def student_job(
    suite: Suite,
    facts: Facts,
    *,
    student: str,
    method: str,
    teacher: Job | ImportedTeacher | None,
    fraction: float,
    values: Mapping[str, Scalar],
    seed: int,
) -> Job:
    """One training of a student. `values` holds the method's hyperparameters, `lr` and `weight_decay`."""
    shared = {name: float(values[name]) for name in SHARED_NAMES}
    own = {name: value for name, value in values.items() if name not in SHARED_NAMES}
    return Job(
        dataset=dataclasses.asdict(suite.dataset),
        dataset_hash=facts.content_hash,
        split=split_of(suite, facts, fraction, omit=True),
        model=student,
        recipe=replace(recipe_of(suite.training, facts), **shared),  # type: ignore[arg-type]
        seed=seed,
        method=method,
        hyperparameters=methods.resolve(method, own),
        teacher=teacher,
        views=suite.data.views,
    )


def _teacher_job(suite: Suite, facts: Facts, model: str, recipe: Recipe, fraction: float) -> Job:
    return Job(
        dataset=dataclasses.asdict(suite.dataset),
        dataset_hash=facts.content_hash,
        split=split_of(suite, facts, fraction, omit=False),
        model=model,
        recipe=recipe_of(recipe, facts),
        seed=derive(suite.seed, "teacher", facts.name, model),
    )


@functools.lru_cache
def _digest(path: str, modified: int, size: int) -> str:
    """SHA-256 of a file; the other arguments make a changed file another question."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
