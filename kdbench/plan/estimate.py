"""What a plan will cost, before it runs: counted, and timed from earlier runs or a short measurement."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from kdbench import data, methods, models
from kdbench.losses import soft_target
from kdbench.plan.jobs import at_fraction, split_of
from kdbench.plan.values import Plan
from kdbench.records import Record
from kdbench.training.schedule import updates_per_epoch

_MEASURED_SECONDS = 2.0  # at most, per pair of networks
_WARM_UP = 2  # updates
_MEASURED_BATCH = 512  # images at most; more take time in proportion
_COPIES = 3  # of a kept student: kdbench's own, MLflow's model, MLflow's safetensors
_RECORD_BYTES = 1_500  # a run record's JSON: about 300 bytes per epoch beside this


@dataclass(frozen=True)
class Estimate:
    """Counts of distinct work (equal keys once), all trials taken to run to the end."""

    teachers: int
    studies: int
    trials: int
    epochs: int  # of all trials, finals and teachers; chains train more networks than one
    tuned_finals: int
    default_finals: int
    seconds: float | None  # of device time; None where nothing like it was measured or can be here
    measured: str  # where the seconds come from, in words
    disk: int  # bytes, once all is done


@dataclass(frozen=True)
class _Training:
    """So many equal trainings of one model by one method."""

    count: int
    method: str
    model: str
    teacher: str | None
    epochs: int
    updates: int  # per epoch
    batch_size: int


def estimate(plan: Plan, labels: torch.Tensor, earlier: Iterable[Record], device: str | None) -> Estimate:
    """The cost of everything in `plan`, whether or not some of it is done already.

    Args:
        plan: what would be run.
        labels: of the training split.
        earlier: records of other runs; those of the same method and model tell seconds per update.
        device: where to measure what they do not tell; None: nowhere.

    """
    trainings = list(_trainings(plan, labels))
    known = _known_speeds(plan, earlier)
    pairs: dict[tuple[str, str | None, int], float] = {}
    seconds: float | None = 0.0
    for item in trainings:
        per_update = known.get((item.method, item.model))
        if per_update is None and device is not None:
            pair = (item.model, item.teacher, item.batch_size)
            if pair not in pairs:
                with _threads(plan):
                    pairs[pair] = _measure(plan, *pair, device)
            per_update = pairs[pair]
        if per_update is None or seconds is None:
            seconds = None
        else:
            seconds += per_update * item.count * item.epochs * item.updates
    trials = sum({study.key: study.trials for study in plan.studies}.values())
    tuned = len({(slot.study, slot.fraction, slot.index) for slot in plan.finals})
    defaults = len({run.key for run, _ in plan.defaults})
    return Estimate(
        teachers=len(plan.teachers),
        studies=len({study.key for study in plan.studies}),
        trials=trials,
        epochs=sum(item.count * item.epochs for item in trainings),
        tuned_finals=tuned,
        default_finals=defaults,
        seconds=seconds,
        measured=_in_words(bool(known), bool(pairs), seconds is None),
        disk=_disk(plan, trials + tuned + defaults),
    )


def _trainings(plan: Plan, labels: torch.Tensor) -> Iterator[_Training]:
    suite, facts = plan.suite, plan.facts
    sizes = {}  # fraction -> (training images at fraction 1.0, in use)
    for fraction in suite.fractions:
        indices = data.split(labels, split_of(suite, facts, fraction, omit=True))
        sizes[fraction] = (indices.full, len(indices.train))
    full, _ = sizes[max(sizes)]
    for planned in plan.teachers:
        recipe, used = planned.job.recipe, round(full * planned.job.split.fraction)
        updates = updates_per_epoch(recipe, full, used)
        yield _Training(1, "original", planned.name, None, recipe.epochs, updates, recipe.batch_size)
    studies = {study.key: study for study in plan.studies}
    finals: dict[tuple[str, float], int] = defaultdict(int)
    for study_key, fraction, _ in {(slot.study, slot.fraction, slot.index) for slot in plan.finals}:
        finals[study_key, fraction] += 1
    for run in {run.key: run for run, _ in plan.defaults}.values():
        finals[run.study, run.fraction] += 1
    counts = [(key, study.fraction, study.trials) for key, study in studies.items()]
    counts += [(key, fraction, count) for (key, fraction), count in finals.items()]
    for key, fraction, count in counts:
        study = studies[key]
        teacher = at_fraction(suite, study.teacher, methods.get(study.method).teacher, fraction)
        yield _Training(
            count,
            study.method,
            study.student,
            teacher.model if teacher else None,
            suite.training.epochs,
            updates_per_epoch(suite.training, *sizes[fraction]),
            suite.training.batch_size,
        )


def _known_speeds(plan: Plan, earlier: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Mean seconds per update by method and model, of complete runs on this data, device and batch size."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in earlier:
        job, updates = record.job, record.time.get("time/updates", 0.0)
        if not updates or not job or job["dataset_hash"] != plan.facts.content_hash:
            continue
        if job["recipe"]["batch_size"] == plan.suite.training.batch_size and plan.device in record.device:
            total = spent[str(job["method"]), str(job["model"])]
            total[0] += record.time.get("time/train_s", 0.0)
            total[1] += updates
    return {what: seconds / updates for what, (seconds, updates) in spent.items()}


def _measure(plan: Plan, model: str, teacher: str | None, batch_size: int, device: str) -> float:
    """Seconds per update of soft targets on random images; at most about two seconds are spent on it."""
    shape, classes = plan.facts.shape, len(plan.facts.classes)
    measured = min(batch_size, _MEASURED_BATCH)
    student = models.build(model, shape=shape, classes=classes, seed=0).to(device)
    guide = models.build(teacher or model, shape=shape, classes=classes, seed=0).to(device).eval()
    generator = torch.Generator(device).manual_seed(0)
    images = torch.rand((measured, *shape), generator=generator, device=device)
    wanted = torch.zeros(measured, classes, device=device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    done, began, started = 0, time.perf_counter(), 0.0
    while done <= _WARM_UP or (time.perf_counter() - began < _MEASURED_SECONDS and done < 50):
        if done == _WARM_UP:
            _wait(device)
            started = time.perf_counter()
        if teacher is not None:
            with torch.no_grad():
                wanted = guide(images).logits
        optimizer.zero_grad()
        torch.autograd.backward(soft_target(student(images).logits, wanted, 4.0))
        optimizer.step()
        done += 1
    _wait(device)
    return (time.perf_counter() - started) / (done - _WARM_UP) * batch_size / measured


@contextmanager
def _threads(plan: Plan) -> Iterator[None]:
    """As many threads as a training of the plan will have."""
    share, before = plan.suite.resources, torch.get_num_threads()
    torch.set_num_threads(1 if share == "auto" else max(1, int(share.cpu)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _in_words(known: bool, measured: bool, unknown: bool) -> str:
    if unknown:
        return "unknown: no earlier run is like it, and this machine has no such device"
    sources = ["earlier runs"] if known else []
    sources += (
        ["a plain soft-target step measured here; some methods take several times that"] if measured else []
    )
    return "from " + " and ".join(sources) + "; without early stopping"


def _disk(plan: Plan, runs: int) -> int:
    """Bytes of weights and records that a finished launch leaves."""
    facts, suite = plan.facts, plan.suite
    sizes: dict[str, int] = {}
    for name in {study.student for study in plan.studies} | {item.name for item in plan.teachers}:
        model = models.build(name, shape=facts.shape, classes=len(facts.classes), seed=0)
        sizes[name] = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    students = [study.student for study in plan.studies for _ in suite.fractions]
    kept = {"none": 0, "best": 1, "all": suite.final.seeds}[suite.students.keep]
    weights = sum(sizes[name] for name in students) * kept * _COPIES
    weights += sum(sizes[item.name] for item in plan.teachers)
    records = runs * (_RECORD_BYTES + 300 * suite.training.epochs)
    return weights + records
