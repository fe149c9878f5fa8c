"""One job from its start or its last checkpoint to its end: a chain's other networks first, then its own."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdbench import methods, models
from kdbench.data import TrainingData
from kdbench.errors import UserError, mistake
from kdbench.methods.contract import Method, Network, Prepared
from kdbench.models import MultiExit
from kdbench.records import Epoch, Reason, State
from kdbench.seeds import derive
from kdbench.training.averages import Diverged
from kdbench.training.ensembles import Average
from kdbench.training.job import Job
from kdbench.training.loop import Pupil, Run, fit
from kdbench.training.precision import to_device
from kdbench.training.schedule import plan_stages


@dataclass(frozen=True)
class Trained:
    """What a training made. A diverged one keeps what was measured before, and its student is of no use."""

    student: nn.Module  # on the device, in eval mode; a MultiExit where the method needs exits
    ensemble: (
        nn.Module | None
    )  # of several networks, where the method makes one: images -> probabilities (B, C)
    history: tuple[Epoch, ...]  # of every network trained, epochs numbered from 1
    state: State  # complete | diverged
    reason: Reason | None  # nan, where diverged
    message: str
    time: Mapping[str, float]  # time/train_s, time/updates (of all networks), time/teacher_gradients


def train(
    job: Job,
    data: TrainingData,
    teacher: nn.Module | None,
    device: str | torch.device,
    *,
    checkpoints: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_resumed: Callable[[tuple[Epoch, ...]], None] | None = None,
    audit: Callable[[nn.Module], float] | None = None,
) -> Trained:
    """Train what `job` says, on `data`, with its teacher (normalised images -> Outputs), on `device`.

    `data` lie on the device; the teacher is moved there and frozen.

    `checkpoints`: the job's own folder. A training that was interrupted goes on from the last epoch in it and
    gives the same bits as an undisturbed one; it first tells the epochs that were done already, those of each
    network at once to `on_resumed`, where that is None one by one to `on_epoch`. What these raise ends the
    training and is passed on; the epoch's checkpoint is written by then. `audit` gives the accuracy that is
    logged as `audit/test_accuracy` after every epoch of the job's own network.

    Equal jobs give equal bits on the CPU of one machine at one number of threads. Raises UserError where this
    pair cannot run the method.
    """
    device = torch.device(device)
    method = methods.make(job.method, job.hyperparameters)
    run = Run(job, data, device, checkpoints, on_epoch, on_resumed, audit)
    teacher = None if teacher is None else frozen(to_device(teacher, device))
    _refuse(job, data, teacher)
    chain = _Chain(run, teacher)
    student = chain.fresh(method, job.seed)
    prepared, state, message = Prepared(teacher), "complete", ""
    try:
        prepared = method.prepare(chain)
        fit(chain.pupil("", method, student, prepared.teacher, job.seed), run)
    except Diverged:
        state, message = "diverged", f"the loss was no number in epoch {len(run.history) + 1}"
    return Trained(
        student=student.eval(),
        ensemble=_ensemble(prepared, student) if state == "complete" else None,
        history=tuple(run.history),
        state="complete" if state == "complete" else "diverged",
        reason=None if state == "complete" else "nan",
        message=message,
        time={
            "time/train_s": run.seconds,
            "time/updates": run.updates,
            "time/teacher_gradients": run.teacher_gradients,
        },
    )


def frozen(network: nn.Module) -> nn.Module:
    """The same network, in eval mode, without gradients for its parameters."""
    return network.eval().requires_grad_(False)


def _refuse(job: Job, data: TrainingData, teacher: nn.Module | None) -> None:
    """Raise UserError where this pair cannot run the method."""
    shape, classes = data.facts.shape, len(data.facts.classes)
    student = models.build(job.model, shape=shape, classes=classes, seed=0)
    of_teacher = None
    if teacher is not None:
        name = job.teacher.model if job.teacher else ""
        of_teacher = models.network(teacher, name, shape, classes)
    reason = methods.check(job.method, models.network(student, job.model, shape, classes), of_teacher)
    if reason:
        raise UserError([mistake("method", job.method, f"a method for this pair; {reason}")])


def _ensemble(prepared: Prepared, student: nn.Module) -> nn.Module | None:
    if prepared.ensemble is not None:
        return frozen(prepared.ensemble)
    return Average((*prepared.members, student)) if prepared.members else None


class _Chain:
    """The Context of a method's `prepare`: trains further networks over the same loop, data and recipe."""

    def __init__(self, run: Run, teacher: nn.Module | None):
        self._run = run
        self._tags: set[str] = set()
        self.teacher = teacher
        self.labels = run.data.train.labels
        self.classes = len(run.data.facts.classes)
        self.epochs = run.job.recipe.epochs
        self.student_name = run.job.model
        self.generator = torch.Generator(run.device).manual_seed(derive(run.job.seed, "chain"))

    @functools.cached_property
    def images(self) -> Tensor:
        """(n, c, h, w) normalised training images; made when a method asks, since most do not."""
        return self._run.pixels(self._run.data.train.images)

    def train(
        self,
        tag: str,
        objective: Method,
        *,
        teacher: nn.Module | None,
        start: nn.Module | None = None,
        epochs: int | None = None,
        sampling: Tensor | None = None,
    ) -> nn.Module:
        """Train one more network and return it frozen. Raises ValueError for a tag that is taken or empty."""
        if not tag or tag in self._tags:
            raise ValueError(f"every network of a chain needs a tag of its own, given {tag!r}")
        self._tags.add(tag)
        seed = derive(self._run.job.seed, "member", tag)
        student = self.fresh(objective, seed) if start is None else copy.deepcopy(start)
        student = to_device(student, self._run.device).requires_grad_(True)
        fit(self.pupil(tag, objective, student, teacher, seed, epochs=epochs, sampling=sampling), self._run)
        return frozen(student)

    def fresh(self, method: Method, seed: int) -> nn.Module:
        """An untrained student, with exits where `method` needs them, on the device."""
        facts = self._run.data.facts
        student = models.build(
            self.student_name,
            shape=facts.shape,
            classes=self.classes,
            seed=derive(seed, "model"),
            dropout=self._run.job.recipe.dropout,
        )
        if "exits" in method.needs:
            student = MultiExit(student, facts.shape, self.classes, derive(seed, "exits"))
        return to_device(student, self._run.device)

    def pupil(
        self,
        tag: str,
        method: Method,
        student: nn.Module,
        teacher: nn.Module | None,
        seed: int,
        *,
        epochs: int | None = None,
        sampling: Tensor | None = None,
    ) -> Pupil:
        """`student` with its connectors and stages."""
        stages = plan_stages(method.stages(), epochs or self.epochs, self._run.job.recipe.lr)
        connectors = self._connectors(method, student, teacher, seed)
        return Pupil(tag, method, student, teacher, connectors, stages, seed, sampling)

    def _connectors(
        self, method: Method, student: nn.Module, teacher: nn.Module | None, seed: int
    ) -> nn.Module | None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "connectors"))
            built = method.build(self._network(student), None if teacher is None else self._network(teacher))
        return None if built is None else to_device(built, self._run.device)

    def _network(self, network: nn.Module) -> Network:
        facts = self._run.data.facts
        return models.network(network, self.student_name, facts.shape, self.classes)
