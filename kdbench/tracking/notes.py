"""Descriptions in words: what a reader of MLflow's page sees above a run's numbers (Markdown)."""

from collections.abc import Iterable

from kdbench.plan import Plan, Run, Study, percent
from kdbench.records import Record

_REASONS = {
    "nan": "its loss was not a number",
    "oom": "it ran out of memory",
    "killed": "its worker was lost more often than it is retried",
    "error": "it raised an error",
    "no-trial": "no trial of its study was complete, so there was no configuration to train",
}
_CONFIGURATIONS = {
    "tuned": "the best",
    "default": "the default",
    "tuned,default": "the best, which is the default,",
}


def launch_note(plan: Plan) -> str:
    """What the whole comparison is."""
    suite = plan.suite
    pairs = "\n".join(f"- {_arrow(pair.title)}" for pair in suite.pairs)
    fractions = ", ".join(percent(fraction) for fraction in suite.fractions)
    return (
        f"Suite **{suite.name}**: {len(suite.methods)} distillation methods on `{plan.facts.name}`, each"
        f" tuned with {suite.search.trials} trials ({suite.search.sampler}, scheduler"
        f" {suite.search.scheduler}, judged on validation images) and then trained again with"
        f" {suite.final.seeds} fresh seeds at {fractions} of the training data.\n\n"
        f"Teacher → student:\n\n{pairs}\n\n"
        "Below this run: one run per study (a method's search for one pair) with its trials and final"
        " runs, and one per teacher. Compare methods by `test/accuracy` of runs with"
        " `kdbench.kind = final`; nothing was selected on the test images. The plan, the suite, the"
        " environment and the report are artifacts of this run.\n"
    )


def study_note(plan: Plan, study: Study, best: Record | None) -> str:
    """What one search is, and what it found."""
    note = (
        f"The search of **{study.label}** for {_arrow(study.pair)} at {percent(study.fraction)} of the"
        f" training data: {study.trials} trials of at most {plan.suite.training.epochs} epochs over"
        f" {_listed(study.space)}. Trial 0 is the default configuration. Its trials and the final runs of its"
        " best configuration are below."
    )
    if best is not None:
        values = ", ".join(f"`{name}` = {_number(value)}" for name, value in best.sampled.items())
        note += f"\n\nBest: trial #{best.number:02d} with {values or 'nothing searched'}."
    return note + "\n"


def run_note(run: Run, record: Record) -> str:
    """What one training is, and how it ended where that needs words."""
    share = f"{percent(run.fraction)} of the training data"
    where = f"{_arrow(run.pair)}, {share}"
    if run.kind == "teacher":
        note = f"A teacher, {run.label}, trained once on {share} and reused by key."
    elif run.kind == "trial":
        default = ", the default configuration" if run.number == 0 else ""
        note = f"Trial #{run.number:02d} of **{run.label}**{default}: {where}; judged on validation images."
    else:
        note = (
            f"A final run of {_CONFIGURATIONS[run.config or 'tuned']} configuration of **{run.label}**:"
            f" {where}, fresh seed {run.index}; its last epoch is evaluated on the test images, once."
        )
    if record.state == "pruned":
        note += "\n\nThe scheduler stopped it early."
    elif record.state in ("diverged", "failed"):
        note += f"\n\nIt {record.state}: {_REASONS[record.reason or 'error']}."
        note += f"\n\n```\n{record.message[:2000]}\n```" if record.message else ""
    return note + "\n"


def student_note(run: Run, record: Record, dataset: str) -> str:
    """What a kept student is and how it is used."""
    accuracy = record.test.get("test/accuracy")
    scored = "" if accuracy is None else f" It scores {100 * accuracy:.2f} % on the test images."
    return (
        f"The final student of **{run.label}** ({_arrow(run.pair)}, {dataset}, {percent(run.fraction)} of the"
        f" training data) with the highest validation accuracy of its seeds.{scored} Takes uint8 images"
        " (N, c, h, w), gives float32 logits, and normalises by itself. Loading it needs kdbench;"
        " `student/` among its run's artifacts (safetensors and JSON) does not.\n"
    )


def _arrow(pair: str) -> str:
    return pair.replace("->", " → ")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
