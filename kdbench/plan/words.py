"""A plan in words, as MLflow, the report and the terminal show it."""

import dataclasses
import re
from typing import Any

from kdbench import methods
from kdbench.keys import content_key
from kdbench.plan.jobs import at_fraction, recipe_of, split_of
from kdbench.plan.values import Plan, Run
from kdbench.suite import Data
from kdbench.suite.schema import TEACHER_EPOCHS
from kdbench.training.job import ImportedTeacher, teacher_key
from kdbench.training.recipe import Recipe


def percent(fraction: float) -> str:
    """A data fraction for people: `100 %`, `12.5 %`."""
    return f"{100 * fraction:g} %"


def slug(label: str) -> str:
    """`label` with everything that a file or a registered model may not have in its name turned into `-`."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", label)


def describe(run: Run) -> str:
    """A run's name: `bss · resnet14→resnet8w4 · 100 % · #07`; finals end in `seed 3` or `default seed 3`."""
    if run.kind == "teacher":
        return f"teacher {run.label} · {percent(run.fraction)}"
    last = f"#{run.number:02d}"
    if run.kind == "final":
        last = f"default seed {run.index}" if run.config == "default" else f"seed {run.index}"
    return " · ".join((run.label, run.pair.replace("->", "→"), percent(run.fraction), last))


def protocol(plan: Plan, pair: str) -> tuple[str, str]:
    """What makes results of a pair comparable: 8 hex digits, and in words what differs from the defaults.

    Over the dataset's content, split, omitted classes, views, updates, teacher data, recipe and the pair's
    teacher. Not over the fraction: leaderboards of all fractions have the same protocol.
    """
    suite, facts = plan.suite, plan.facts
    largest = max(suite.fractions)
    split = dataclasses.asdict(split_of(suite, facts, largest, omit=True))
    del split["fraction"]
    teacher = _pair_teacher(plan, pair, largest)
    identity = {
        "dataset": facts.content_hash,
        "split": split,
        "views": suite.data.views,
        "teacher_data": suite.data.teacher_data,
        "recipe": recipe_of(suite.training, facts),
        "teacher": teacher_key(teacher, plan.device),
    }
    words = [
        *_differences(suite.data.model_dump(), Data().model_dump(), ""),
        *_differences(dataclasses.asdict(suite.training), dataclasses.asdict(Recipe()), ""),
    ]
    if isinstance(teacher, ImportedTeacher):
        words.append("imported teacher")
    elif teacher is not None:
        usual = dataclasses.asdict(Recipe(epochs=TEACHER_EPOCHS))
        words += _differences(dataclasses.asdict(suite.teacher), usual, "teacher ")
    words += [f"seed {suite.seed}"] if suite.seed else []
    return content_key(identity)[:8], " · ".join(words) or "default"


def _pair_teacher(plan: Plan, pair: str, fraction: float) -> Any:
    """The teacher of `pair` itself; None where every method does without."""
    for study in plan.studies:
        need = methods.get(study.method).teacher
        if study.pair == pair and need == "pair":
            return at_fraction(plan.suite, study.teacher, need, fraction)
    return None


def _differences(given: dict[str, Any], usual: dict[str, Any], prefix: str) -> list[str]:
    return [
        f"{prefix}{name.replace('_', ' ')} {_spelt(value)}"
        for name, value in given.items()
        if value != usual[name]
    ]


def _spelt(value: Any) -> str:
    if isinstance(value, dict) and "step" in value:
        return f"step ×{value['step']['gamma']:g} at {_spelt(value['step']['at'])}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelt, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
