"""A run from the outside: open data, load a teacher, train, evaluate, keep the network, say how it ended."""

import errno
import functools
import gc
import hashlib
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from kdbench import data, methods, models
from kdbench.data import DatasetSpec, Facts, Images, TrainingData
from kdbench.home import Home
from kdbench.keys import canonical_json
from kdbench.models import Renormalised
from kdbench.records import Epoch, Kind, Reason, State
from kdbench.training.evaluation import EVALUATION_VERSION, Examinee, evaluate
from kdbench.training.inference import validate
from kdbench.training.inputs import Pixels
from kdbench.training.job import ImportedTeacher, Job, Split, job_of, teacher_key
from kdbench.training.precision import to_device
from kdbench.training.saved import load_network, save_network
from kdbench.training.trainer import frozen, train
from kdbench.training.usage import Usage

Teacher = Job | ImportedTeacher
OnEpoch = Callable[[Epoch], None]

_PACKAGE = str(Path(__file__).resolve().parents[1])
_LONGEST = 2000  # characters of a failure's message


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the fields of its Record that only the training knows."""

    state: State  # complete | diverged | failed
    reason: Reason | None = None  # nan | oom | error
    message: str = ""
    history: tuple[Epoch, ...] = ()
    test: Mapping[str, float] = field(default_factory=dict)  # of finals and teachers that are complete
    time: Mapping[str, float] = field(default_factory=dict)
    device: str = ""
    evaluation: int = 0  # EVALUATION_VERSION of `test`


@dataclass(frozen=True)
class Request:
    """A run to do: its job and what is wanted beside the training."""

    job: Job
    kind: Kind
    key: str
    device: str
    facts: Facts | None = None  # of the data set; None: found out here
    pair_teacher: Teacher | None = (
        None  # whom a final is compared with; None: the method's, if that is the pair's
    )
    keep_student: bool = False


def execute(  # noqa: PLR0913 - the one door for workers
    job: Job,
    *,
    kind: Kind,
    key: str,
    home: Home,
    device: str,
    on_epoch: OnEpoch | None = None,
    threads: int | None = None,
    keep_student: bool = False,
    pair_teacher: Teacher | None = None,
    facts: Facts | None = None,
    on_resumed: Callable[[tuple[Epoch, ...]], None] | None = None,
) -> Outcome:
    """Do one run and say how it ended; failures are outcomes and do not raise, except OSError: a full
    disk or a missing file says nothing of the run.

    A job's teacher must lie in `home.teachers`. Checkpoints go to `home.checkpoints/<key>/`, a teacher's
    weights to `home.teachers`, a student's, where it is to be kept, to `home.students`. Only finals and
    teachers look at the test split. `pair_teacher` is whom a final is compared with; None: whom its method
    learns from, if that is the pair's teacher. `facts` of the data set spare the process finding them out,
    for which both splits are read. `threads`: torch's, from now on. Data and teachers stay in the process for
    the next run. SystemExit and KeyboardInterrupt (a stopped trial, a stopped process) pass through.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    request = Request(job, kind, key, device, facts, pair_teacher, keep_student)
    try:
        return perform(request, home, home.checkpoints / key, home.students, on_epoch, on_resumed)
    except Exception as error:  # noqa: BLE001 - a method's bug is this run's result, not the end of the process
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        oom = _is_out_of_memory(error)
        message = _message(error)
    if oom:
        forget()
    return Outcome("failed", "oom" if oom else "error", message, device=device_name(device))


def perform(
    request: Request,
    home: Home,
    checkpoints: Path,
    students: Path,
    on_epoch: OnEpoch | None = None,
    on_resumed: Callable[[tuple[Epoch, ...]], None] | None = None,
) -> Outcome:
    """Do one run. Raises whatever goes wrong, except a diverging loss, which is an outcome."""
    job, device = request.job, request.device
    usage = Usage(torch.device(device))
    opened = _open(job, request.facts, device)
    trained = train(
        job,
        opened.images,
        _teacher(job.teacher, opened.facts, home.teachers, device),
        device,
        checkpoints=checkpoints,
        on_epoch=on_epoch,
        on_resumed=on_resumed,
        audit=opened.audit if request.kind == "final" else None,
    )
    complete = trained.state == "complete"
    if complete and (request.kind == "teacher" or request.keep_student):
        folder = home.teachers if request.kind == "teacher" else students
        save_network(trained.student, folder, request.key, job, opened.facts)
    test: dict[str, float] = {}
    if complete and request.kind != "trial":
        rival = _teacher(request.pair_teacher or _distilled(job), opened.facts, home.teachers, device)
        test = opened.evaluate(Examinee(trained.student, trained.ensemble, rival, job.split.omit_classes))
    return Outcome(
        state=trained.state,
        reason=trained.reason,
        message=trained.message,
        history=trained.history,
        test=test,
        time={**trained.time, **usage.metrics()} if request.kind == "final" else trained.time,
        device=device_name(device),
        evaluation=EVALUATION_VERSION if test else 0,
    )


def evaluate_again(
    weights: Path, *, home: Home, device: str, pair_teacher: Teacher | None = None
) -> dict[str, float]:
    """The evaluation of a kept student, by this version or against another pair's teacher.

    An ensemble of several networks was not kept, so its `eval/ensemble_accuracy` is missing. Raises what
    `load_network` raises.
    """
    network, description = load_network(weights)
    job = job_of(description.job)
    opened = _open(job, None, device)
    rival = _teacher(pair_teacher or _distilled(job), opened.facts, home.teachers, device)
    student = to_device(network, torch.device(device))
    return opened.evaluate(Examinee(student, None, rival, job.split.omit_classes))


@dataclass(frozen=True)
class _Opened:
    """A job's data on its device; the test split is read when it is asked for."""

    spec: str  # the DatasetSpec as JSON
    facts: Facts
    images: TrainingData
    device: torch.device

    @property
    def test(self) -> Images:
        return _test_images(self.spec, self.facts.content_hash, self.device)

    def audit(self, student: nn.Module) -> float:
        """Accuracy on the test split, for the test-peek column and nothing else."""
        return validate(student, self.test, Pixels(self.facts, self.device)).accuracy

    def evaluate(self, examinee: Examinee) -> dict[str, float]:
        return evaluate(examinee, self.test, self.images.validation, self.facts, self.device)


def _open(job: Job, facts: Facts | None, device: str) -> _Opened:
    spec = canonical_json(job.dataset)
    known = facts or _facts(spec)
    if known.content_hash != job.dataset_hash:
        raise ValueError(f"{known.name} holds other images here than those that this run was planned for")
    images = _training_data(spec, known, job.split, device)
    return _Opened(spec, known, images, torch.device(device))


def _distilled(job: Job) -> Teacher | None:
    """The pair's teacher, where that is whom the method learns from."""
    return job.teacher if methods.get(job.method).teacher == "pair" else None


def _teacher(teacher: Teacher | None, facts: Facts, folder: Path, device: str) -> nn.Module | None:
    if teacher is None:
        return None
    if isinstance(teacher, ImportedTeacher):
        return _imported(teacher, facts, device)
    key = teacher_key(teacher, torch.device(device).type)
    return _trained_teacher(folder / f"{key}.safetensors", device)


# What one process keeps from run to run. Few of each: on a device they take memory from the trainings.


@functools.lru_cache(maxsize=8)
def _facts(spec: str) -> Facts:
    return data.facts(_dataset(spec))


@functools.lru_cache(maxsize=4)
def _training_data(spec: str, facts: Facts, split: Split, device: str) -> TrainingData:
    return data.make_training(_dataset(spec), facts, split, device)


@functools.lru_cache(maxsize=1)
def _test_images(spec: str, content_hash: str, device: torch.device) -> Images:
    return data.load_test(_dataset(spec)).to(device)


@functools.lru_cache(maxsize=4)
def _trained_teacher(weights: Path, device: str) -> nn.Module:
    return frozen(to_device(load_network(weights)[0], torch.device(device)))


@functools.lru_cache(maxsize=4)
def _imported(teacher: ImportedTeacher, facts: Facts, device: str) -> nn.Module:
    weights = Path(teacher.weights)
    if hashlib.sha256(weights.read_bytes()).hexdigest() != teacher.digest:
        raise ValueError(f"{weights} has changed since this run was planned")
    model = models.load(teacher.model, weights, shape=facts.shape, classes=len(facts.classes))
    if teacher.mean is not None and teacher.std is not None:
        model = Renormalised(model, facts.mean, facts.std, teacher.mean, teacher.std)
    return frozen(to_device(model, torch.device(device)))


def forget() -> None:
    """Free what the process keeps from run to run."""
    for kept in (_facts, _training_data, _test_images, _trained_teacher, _imported):
        kept.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _dataset(spec: str) -> DatasetSpec:
    values = json.loads(spec)
    statistics = {name: values[name] and tuple(values[name]) for name in ("mean", "std")}
    return DatasetSpec(**{**values, **statistics})


def device_name(device: str) -> str:
    """`cpu, 2 threads` or `cuda, NVIDIA H200`."""
    if torch.device(device).type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'' if threads == 1 else 's'}"


def _is_out_of_memory(error: Exception) -> bool:
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")  # of torch's plain RuntimeErrors
    known = isinstance(error, MemoryError | torch.OutOfMemoryError | OSError)
    return known or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _message(error: Exception) -> str:
    """What went wrong, and in which line of kdbench; equal errors give equal messages."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_PACKAGE)
    ]
    place = f" ({Path(frames[-1].filename).relative_to(_PACKAGE)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}"[:_LONGEST] + place
