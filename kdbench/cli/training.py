"""`kdbench train`: one student from start to end, without Ray and MLflow."""

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
import yaml
from rich.console import Console
from rich.progress import Progress

from kdbench import data, home, methods, plan, records, suite, yamlfile
from kdbench.cli.words import duration
from kdbench.errors import Mistake, UserError, mistake
from kdbench.home import Home
from kdbench.plan import Plan, PlannedTeacher
from kdbench.records import Epoch, Record
from kdbench.search.spaces import SHARED_NAMES
from kdbench.tracking.environment import commit
from kdbench.training import Outcome
from kdbench.training.execution import Request, perform
from kdbench.training.job import Job
from kdbench.training.recipe import Recipe

_DEVICES = ("cpu", "cuda")
_OPTIONS = {  # where a user typed what the plan calls otherwise
    "pairs.0.student": "--student",
    "pairs.0.teacher.model": "--teacher",
    "pairs.0.teacher.weights": "--weights",
    "methods.0.method": "METHOD",
    "methods.0": "METHOD",
    "fractions": "--fraction",
    "seed": "--seed",
    "dataset": "--dataset",
}


@dataclass(frozen=True)
class Wish:
    """What a user typed, unchecked."""

    method: str
    dataset: str
    student: str
    teacher: str | None
    sets: Sequence[str]
    config: Path | None
    weights: Path | None
    epochs: int | None
    batch_size: int | None
    fraction: float
    seed: int


def train(wish: Wish, *, device: str | None, threads: int, out: Path, test: bool) -> int:
    """Train what is wished, its teacher first; fill `out`. Returns the exit code: 1 where a loss diverged."""
    torch.set_num_threads(threads)
    state = home.home()
    planned = _plan(wish, device)
    unusable = home.unusable({"KDBENCH_HOME": state.root, "--out": out})
    if unusable:
        raise UserError(unusable)
    for teacher in planned.teachers:
        if _train_teacher(teacher, planned, state).state != "complete":
            return 1
    (run, job), *_ = planned.defaults
    outcome = _watched(
        f"{run.label} {job.model}",
        job,
        lambda tell: perform(
            Request(
                job, "final" if test else "trial", run.key, planned.device, planned.facts, keep_student=True
            ),
            state,
            out / "checkpoint",
            out,
            tell,
        ),
    )
    _write(out, run.key, job, outcome, test=test)
    _tell(outcome, out)
    return 0 if outcome.state == "complete" else 1


def _plan(wish: Wish, device: str | None) -> Plan:
    """A plan with one final run of the wished configuration; its key is that of a launch's first final.

    Raises UserError with all that is wrong, under the names of the options.
    """
    found: list[Mistake] = []
    recipe = [field.name for field in dataclasses.fields(Recipe)]
    values = _values(wish, recipe, found)
    fixed = {name: item for name, item in values.items() if name not in recipe or name in SHARED_NAMES}
    raw = {
        "name": "train",
        "dataset": _dataset(wish.dataset, found),
        "pairs": [{"teacher": _teacher(wish, found), "student": wish.student}],
        "training": {name: value for name, value in values.items() if name in recipe},
        "methods": [{"method": wish.method, "fixed": fixed}],
        "fractions": [wish.fraction],
        "search": {"scheduler": "none", "trials": 1},
        "final": {"seeds": 1},
        "seed": wish.seed,
    }
    used = _device(device, found)
    try:
        wanted = suite.build(raw, Path.cwd())
        if not found:
            facts = data.facts(wanted.dataset)
            labels = data.load_training(wanted.dataset).labels.numpy()
            return plan.make_plan(wanted, facts, labels, used)
    except UserError as error:
        # Without --teacher the student's name stands in its place: its mistake is the student's.
        teacher = "pairs.0.teacher." if wish.teacher is None and wish.weights is None else "\0"
        found += [_as_typed(item) for item in error.mistakes if not item.key.startswith(teacher)]
    raise UserError({item.key: item for item in reversed(found)}.values())


def _values(wish: Wish, recipe: Collection[str], found: list[Mistake]) -> dict[str, Any]:
    """Hyperparameters and training keys: the file's, the options', then `--set`; faults go to `found`."""
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    options = {"epochs": wish.epochs, "batch_size": wish.batch_size}
    if wish.config is not None:
        try:
            values |= yamlfile.read(wish.config, what="a configuration")
            source |= dict.fromkeys(values, str(wish.config))
        except UserError as error:
            found += error.mistakes
    values |= {name: value for name, value in options.items() if value is not None}
    for text in wish.sets:
        name, equals, value = text.partition("=")
        if not equals:
            found.append(Mistake("--set", repr(text), "key=value, the value in YAML"))
            continue
        try:
            values[name], source[name] = yamlfile.parse(value, file="--set", key=name), "--set"
        except UserError as error:
            found += error.mistakes
    try:
        known = [*methods.hyperparameters(wish.method), *recipe]
    except UserError:  # reported where the suite is built; beside it no hyperparameter can be judged
        known = [*values]
    allowed = f"a hyperparameter of {wish.method} or a training key: {', '.join(known)}"
    unknown = [name for name in values if name not in known]
    found += [mistake(name, name, allowed, file=source.get(name, ""), names=known) for name in unknown]
    return {name: value for name, value in values.items() if name in known}


def _dataset(text: str, found: list[Mistake]) -> Any:
    try:
        return yamlfile.parse(text, key="--dataset")
    except UserError as error:
        found += error.mistakes
        return "digits"


def _teacher(wish: Wish, found: list[Mistake]) -> dict[str, Any]:
    """The pair's teacher; the student's own model stands in where the method needs none."""
    try:
        needed = methods.get(wish.method).teacher == "pair"
    except UserError:  # an unknown method is reported where the suite is built
        needed = False
    if wish.teacher is None and (wish.weights is not None or needed):
        found.append(
            Mistake("--teacher", "nothing", f"the name of a model, for {wish.method} distils a teacher")
        )
    teacher = {"model": wish.teacher or wish.student}
    return teacher | ({"weights": str(wish.weights)} if wish.weights else {})


def _device(wanted: str | None, found: list[Mistake]) -> str:
    there = _DEVICES if torch.cuda.is_available() else _DEVICES[:1]
    if wanted is not None and wanted not in there:
        found.append(mistake("--device", wanted, " | ".join(there), names=there))
    return wanted or there[-1]


def _as_typed(item: Mistake) -> Mistake:
    """The mistake under the name of the option that it was made in."""
    for prefix in ("methods.0.fixed.", "training."):
        if item.key.startswith(prefix):
            return dataclasses.replace(item, key=item.key.removeprefix(prefix))
    keys = (option for key, option in _OPTIONS.items() if item.key == key or item.key.startswith(f"{key}."))
    return dataclasses.replace(item, key=next(keys, item.key))


def _train_teacher(teacher: PlannedTeacher, planned: Plan, state: Home) -> Outcome:
    """Train a teacher, or take the one of that key; its record lets a launch reuse it."""
    weights = state.teachers / f"{teacher.key}.safetensors"
    known = state.results / f"{teacher.key}.json"
    if weights.exists() and known.exists():
        record = records.read(known)
        if record.state == "complete":
            typer.echo(f"teacher {teacher.name}: taken from {weights}")
            return Outcome("complete")
    started = time.time()
    checkpoint = state.checkpoints / teacher.key
    outcome = _watched(
        f"teacher {teacher.name}",
        teacher.job,
        lambda tell: perform(
            Request(teacher.job, "teacher", teacher.key, planned.device, planned.facts),
            state,
            checkpoint,
            state.students,
            tell,
        ),
    )
    record = _record("teacher", teacher.key, teacher.job, outcome)
    records.write(dataclasses.replace(record, started=started, ended=time.time()), state.results)
    shutil.rmtree(checkpoint, ignore_errors=True)
    if outcome.state != "complete":
        typer.echo(f"teacher {teacher.name}: {outcome.state}: {outcome.message}", err=True)
    return outcome


def _watched(title: str, job: Job, work: Callable[[Callable[[Epoch], None]], Outcome]) -> Outcome:
    """Do `work`, which tells its epochs, under a progress bar; off a terminal, a line every ten seconds."""
    console = Console()
    bar = Progress(console=console) if console.is_terminal else None
    task = bar.add_task(title, total=job.recipe.epochs) if bar else None
    last = time.monotonic()

    def tell(epoch: Epoch) -> None:
        nonlocal last
        accuracy = epoch.metrics.get("val/accuracy")
        text = title if accuracy is None else f"{title} {100 * accuracy:.2f} %"
        if bar is not None and task is not None:
            total = max(job.recipe.epochs, epoch.epoch)  # chains train several networks
            bar.update(task, completed=epoch.epoch, total=total, description=text)
        elif time.monotonic() - last >= 10:
            last = time.monotonic()
            typer.echo(f"{text} after epoch {epoch.epoch} of {job.recipe.epochs}")

    shown: AbstractContextManager[Any] = bar or nullcontext()
    with shown:
        return work(tell)


def _record(kind: records.Kind, key: str, job: Job, outcome: Outcome) -> Record:
    values = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    return Record(
        key=key,
        kind=kind,
        method=job.method,
        hyperparameters={**job.hyperparameters, **{name: getattr(job.recipe, name) for name in SHARED_NAMES}},
        seed=job.seed,
        job=dataclasses.asdict(job),
        commit=commit(),
        **values,
    )


def _write(out: Path, key: str, job: Job, outcome: Outcome, *, test: bool) -> None:
    """`result.json`, `student.safetensors` with its description, and `config.yaml` for `--config`."""
    record = _record("final" if test else "trial", key, job, outcome)
    records.write_atomically(out / "result.json", json.dumps(dataclasses.asdict(record), indent=1))
    for suffix in (".safetensors", ".json"):
        if (out / f"{key}{suffix}").exists():
            (out / f"{key}{suffix}").replace(out / f"student{suffix}")
    values: Mapping[str, Any] = {**job.hyperparameters, **dataclasses.asdict(job.recipe)}
    comment = f"# kdbench {' '.join(sys.argv[1:])}\n"
    text = yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False, allow_unicode=True)
    records.write_atomically(out / "config.yaml", comment + text)
    shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _tell(outcome: Outcome, out: Path) -> None:
    """The result on one page."""
    last = outcome.history[-1].metrics if outcome.history else {}
    shown = {name: last[name] for name in ("val/accuracy", "val/loss", "train/loss") if name in last}
    for name, value in {**shown, **outcome.test}.items():
        typer.echo(f"{name:32} {value:.6g}")
    typer.echo(f"{'trained in':32} {duration(outcome.time.get('time/train_s', 0.0))} on {outcome.device}")
    typer.echo(f"{outcome.state}{f': {outcome.message}' if outcome.message else ''}")
    if not outcome.test:
        typer.echo("Not evaluated on the test split: that is for the end, with --test.")
    typer.echo(f"Written to {out.absolute()}")
