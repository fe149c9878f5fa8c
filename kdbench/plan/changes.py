"""What a changed suite keeps of the work of an earlier launch, and why not the rest."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from kdbench.plan.values import Plan, PlannedTeacher, Study
from kdbench.plan.words import percent


def changes(old: Plan, new: Plan) -> list[str]:
    """Lines on what `new` reuses of `old`, what it does not and why; none where both plan the same work."""
    return [
        *_compare(
            "teachers",
            {
                (item.name, item.job.split.fraction): (item.key, _of_teacher(old, item))
                for item in old.teachers
            },
            {
                (item.name, item.job.split.fraction): (item.key, _of_teacher(new, item))
                for item in new.teachers
            },
        ),
        *_compare(
            "studies",
            {
                (item.label, item.pair, item.fraction): (item.key, _of_study(old, item))
                for item in old.studies
            },
            {
                (item.label, item.pair, item.fraction): (item.key, _of_study(new, item))
                for item in new.studies
            },
        ),
        *_trials(old, new),
        *_finals(old, new),
    ]


_Work = Mapping[
    tuple[Any, ...], tuple[str, Mapping[str, Any]]
]  # identity for people -> key, what is in the key


def _compare(what: str, old: _Work, new: _Work) -> list[str]:
    known = {key for key, _ in old.values()}
    kept = [key for key, _ in new.values() if key in known]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for identity, (key, parts) in new.items():
        if key not in known:
            by_reason[_reason(old.get(identity), parts)].append(_title(identity))
    gone = [_title(identity) for identity in old if identity not in new]
    if not by_reason and not gone:
        return []
    lines = [f"{what}: {len(kept)} of {len(new)} reused"]
    lines += [f"{what} to do, {reason}: {_list(names)}" for reason, names in by_reason.items()]
    return lines + ([f"{what} no longer planned: {_list(gone)}"] if gone else [])


def _reason(before: tuple[str, Mapping[str, Any]] | None, parts: Mapping[str, Any]) -> str:
    if before is None:
        return "new in this suite"
    changed = [name for name, value in parts.items() if before[1].get(name) != value]
    return f"changed {', '.join(changed)}"


def _of_study(plan: Plan, study: Study) -> dict[str, Any]:
    search = plan.suite.search
    return {
        **_of_any(plan),
        "omitted classes": plan.suite.data.omit_classes,
        "teacher views": plan.suite.data.views,
        "student": study.student,
        "teacher": study.teacher_key,
        "method": study.method,
        "search space": study.space,
        "default values": (study.default, study.enqueued),
        "sampler": search.sampler,
        "scheduler": (search.scheduler, search.grace_epochs, search.reduction_factor),
        "training recipe": plan.suite.training,
    }


def _of_teacher(plan: Plan, teacher: PlannedTeacher) -> dict[str, Any]:
    return {**_of_any(plan), "model": teacher.job.model, "recipe": teacher.job.recipe}


def _of_any(plan: Plan) -> dict[str, Any]:
    return {
        "data set": plan.facts.content_hash,
        "validation split": plan.suite.data.validation,
        "seed": plan.suite.seed,
        "device": plan.device,
        "torch version": plan.versions.get("torch"),
        "kdbench version": plan.versions.get("training"),
    }


def _trials(old: Plan, new: Plan) -> list[str]:
    before, now = old.suite.search.trials, new.suite.search.trials
    same = {study.key for study in old.studies} & {study.key for study in new.studies}
    return [f"studies that go on from {before} to {now} trials: {len(same)}"] if same and now > before else []


def _finals(old: Plan, new: Plan) -> list[str]:
    known = {run.key for run, _ in old.defaults}
    kept = sum(run.key in known for run, _ in new.defaults)
    if old.defaults and kept < len(new.defaults):
        return [f"final runs of the defaults: {kept} of {len(new.defaults)} reused"]
    return []


def _title(identity: Iterable[Any]) -> str:
    return " · ".join(percent(part) if isinstance(part, float) else str(part) for part in identity)


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
