"""The single runs of a plan: their jobs, keys and identities."""

from collections.abc import Mapping

from kdbench import methods
from kdbench.keys import content_key
from kdbench.methods.contract import Scalar
from kdbench.plan.jobs import at_fraction, student_job
from kdbench.plan.values import Config, FinalSlot, Plan, PlannedTeacher, Run, Study
from kdbench.seeds import derive
from kdbench.training.job import Job, teacher_key


def trial_key(study: Study, number: int, sampled: Mapping[str, Scalar]) -> str:
    """Key of trial `number` (from 0) with the searched parameters `sampled`; good in its study only."""
    return content_key({"study": study.key, "number": number, "sampled": sampled})


def trial_job(plan: Plan, study: Study, number: int, sampled: Mapping[str, Scalar]) -> Job:
    """What trial `number` trains: the study's default configuration with `sampled` laid over it."""
    return student_job(
        plan.suite,
        plan.facts,
        student=study.student,
        method=study.method,
        teacher=study.teacher,
        fraction=study.fraction,
        values={**study.default, **sampled},
        seed=derive(plan.suite.seed, "trial", plan.facts.name, study.fraction, number),
    )


def trial_run(plan: Plan, study: Study, number: int, sampled: Mapping[str, Scalar]) -> Run:
    """The identity of that trial under this suite and the study's pair."""
    return Run(
        kind="trial",
        key=trial_key(study, number, sampled),
        label=study.label,
        pair=study.pair,
        fraction=study.fraction,
        seed=derive(plan.suite.seed, "trial", plan.facts.name, study.fraction, number),
        study=study.key,
        search_fraction=study.fraction,
        number=number,
        teacher_key=study.teacher_key,
    )


def final_job(plan: Plan, slot: FinalSlot, hyperparameters: Mapping[str, Scalar]) -> Job:
    """What a tuned final run trains; its key is `job_key(job, plan.device)`.

    `hyperparameters` is the study's default overlaid by what its best trial sampled.
    """
    study = study_of(plan, slot)
    return student_job(
        plan.suite,
        plan.facts,
        student=study.student,
        method=study.method,
        teacher=at_fraction(plan.suite, study.teacher, methods.get(study.method).teacher, slot.fraction),
        fraction=slot.fraction,
        values={**study.default, **hyperparameters},
        seed=slot.seed,
    )


def tuned_run(plan: Plan, slot: FinalSlot, key: str, config: Config) -> Run:
    """The identity of that final run; `config` is "tuned,default" where the best is the default."""
    study = study_of(plan, slot)
    teacher = at_fraction(plan.suite, study.teacher, methods.get(study.method).teacher, slot.fraction)
    return Run(
        kind="final",
        key=key,
        label=slot.label,
        pair=slot.pair,
        fraction=slot.fraction,
        seed=slot.seed,
        study=slot.study,
        search_fraction=study.fraction,
        index=slot.index,
        config=config,
        teacher_key=teacher_key(teacher, plan.device),
    )


def teacher_run(planned: PlannedTeacher) -> Run:
    """The identity of a teacher's training."""
    return Run(
        kind="teacher",
        key=planned.key,
        label=planned.name,
        pair="",
        fraction=planned.job.split.fraction,
        seed=planned.job.seed,
    )


def study_of(plan: Plan, slot: FinalSlot) -> Study:
    """The study that a final run takes its configuration from."""
    return next(study for study in plan.studies if (study.key, study.pair) == (slot.study, slot.pair))
