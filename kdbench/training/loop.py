"""The training of one network: stages, epochs, updates, with a checkpoint after every epoch."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kdbench import models
from kdbench.data import Sampler, TrainingData
from kdbench.methods.contract import Batch, Method
from kdbench.records import Epoch
from kdbench.seeds import derive
from kdbench.training import checkpoint
from kdbench.training.averages import Averages, Diverged
from kdbench.training.inference import validate
from kdbench.training.inputs import Feed, Pixels, plan_views
from kdbench.training.job import Job, job_key
from kdbench.training.optimisation import (
    cap_norms,
    hidden_weights,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from kdbench.training.precision import autocast
from kdbench.training.schedule import PlannedStage, learning_rate, updates_per_epoch

# Updates between two looks at the loss: reading it costs nothing on the CPU, but makes a CUDA device wait.
_LOOK_EVERY = {"cuda": 50}


@dataclass(frozen=True)
class Pupil:
    """One network to train, and whom it learns from."""

    tag: str  # "" for the job's own network; names and seeds the other networks of a chain
    method: Method
    student: nn.Module
    teacher: nn.Module | None  # frozen, in eval mode
    connectors: nn.Module | None
    stages: tuple[PlannedStage, ...]
    seed: int
    sampling: Tensor | None = None  # (n,) weights by which images are drawn; None: shuffled passes


@dataclass
class Run:
    """A job under way: what all its networks share, and what has been measured so far."""

    job: Job
    data: TrainingData
    device: torch.device
    checkpoints: Path | None
    on_epoch: Callable[[Epoch], None] | None
    on_resumed: Callable[[tuple[Epoch, ...]], None] | None
    audit: Callable[[nn.Module], float] | None  # accuracy on the test split, for the test-peek column only
    history: list[Epoch] = field(default_factory=list)
    updates: int = 0
    teacher_gradients: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Derive what every network of the job needs."""
        self.pixels = Pixels(self.data.facts, self.device)
        self.owner = job_key(self.job, self.device.type)

    def add(self, epoch: Epoch) -> None:
        """One more epoch, of whichever network."""
        self.history.append(epoch)
        if self.on_epoch is not None:
            self.on_epoch(epoch)

    def take_up(self, epochs: tuple[Epoch, ...]) -> None:
        """Epochs that were trained before an interruption."""
        if self.on_resumed is None:
            for epoch in epochs:
                self.add(epoch)
        else:
            self.history.extend(epochs)
            self.on_resumed(epochs)


@dataclass
class Progress:
    """How far one network is: what its checkpoint holds beside tensors."""

    stage: int = 0  # index of the stage under way, or of the last one done
    epoch: int = 0  # epochs done in it
    updates: int = 0
    teacher_gradients: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)


def fit(pupil: Pupil, run: Run) -> None:
    """Train `pupil` to its end, from its last checkpoint if there is one. Raises Diverged.

    The result has the same bits whether or not it was interrupted: all randomness comes from seeds derived
    per epoch, and the order of the images from a stream that is wound forward.
    """
    training = _Training(pupil, run)
    training.resume()
    try:
        training.finish()
    finally:
        run.updates += training.progress.updates
        run.teacher_gradients += training.progress.teacher_gradients
        run.seconds += training.progress.seconds


class _Training:
    def __init__(self, pupil: Pupil, run: Run):
        self.pupil, self.run, self.progress = pupil, run, Progress()
        self.recipe = run.job.recipe
        train = run.data.train
        order = torch.Generator().manual_seed(derive(pupil.seed, "order"))
        self.sampler = Sampler(len(train), self.recipe.batch_size, order, pupil.sampling)
        self.updates = updates_per_epoch(self.recipe, run.data.full_size, len(train))
        self.trained = nn.ModuleDict({"student": pupil.student})
        if pupil.connectors is not None:
            self.trained["connectors"] = pupil.connectors
        self.optimizer = make_optimizer(self.recipe, self.trained.parameters())
        name = f"chain-{pupil.tag}" if pupil.tag else "student"
        self.file = run.checkpoints / f"{name}.safetensors" if run.checkpoints else None

    @functools.cached_property
    def feed(self) -> Feed:
        """Made when there is something to train: it may have to ask the teacher about every image."""
        run, pupil = self.run, self.pupil
        taught = pupil.teacher is not None
        views = plan_views(self.recipe.augment, run.data.facts, run.job.views, taught)
        return Feed(run.data.train, run.pixels, views, pupil.teacher, pupil.seed)

    def resume(self) -> None:
        """Take up the last checkpoint and tell the epochs in it."""
        found = checkpoint.load(self.file, self.run.owner) if self.file else None
        if found is None:
            return
        tensors, state = found
        state["history"] = [Epoch(**epoch) for epoch in state["history"]]
        self.progress = Progress(**state)
        self.trained.load_state_dict(_under("trained.", tensors))
        restore_optimizer(self.optimizer, _under("optimizer.", tensors))
        self.sampler.skip(self.progress.updates)
        self.run.take_up(tuple(self.progress.history))

    def finish(self) -> None:
        """Train what is left."""
        for index, stage in enumerate(self.pupil.stages):
            if index < self.progress.stage:
                continue
            if index > self.progress.stage:
                self.progress.stage, self.progress.epoch = index, 0
                self.optimizer = make_optimizer(self.recipe, self.trained.parameters())
            for epoch in range(self.progress.epoch + 1, stage.epochs + 1):
                self._one_epoch(index, stage, epoch)
        self.pupil.student.eval()

    def _one_epoch(self, index: int, stage: PlannedStage, epoch: int) -> None:
        started = time.perf_counter()
        seed = derive(self.pupil.seed, "epoch", index, epoch)
        with _global_randomness(derive(seed, "global"), self.run.device):
            metrics = self._train(stage, epoch, seed)
        metrics |= self._validate()
        self.progress.epoch = epoch
        self.progress.seconds += time.perf_counter() - started
        last = not self.pupil.tag and index == len(self.pupil.stages) - 1
        if self.run.audit is not None and not self.pupil.tag:
            metrics["audit/test_accuracy"] = self.run.audit(self.pupil.student)
        done = Epoch(
            epoch=len(self.run.history) + 1,
            stage=self.pupil.tag or stage.name,
            rung=epoch * self.recipe.epochs / stage.epochs if last else 0.0,
            metrics=metrics,
        )
        self.progress.history.append(done)
        self._save()  # before the report: what was reported is never trained again
        self.run.add(done)

    def _train(self, stage: PlannedStage, epoch: int, seed: int) -> dict[str, float]:
        """All updates of an epoch; returns what `train/…` shows of it."""
        device = self.run.device
        augmenting, of_method, dropping = (
            torch.Generator(device).manual_seed(derive(seed, purpose))
            for purpose in ("augment", "method", "dropout")
        )
        models.use_generator(self.trained, dropping)
        self.trained.train()
        weights = hidden_weights(self.pupil.student) if self.recipe.max_norm else []
        means = Averages(_LOOK_EVERY.get(device.type, 1))
        order = torch.stack([next(self.sampler) for _ in range(self.updates)]).to(device)
        for update, indices in enumerate(order, (epoch - 1) * self.updates):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.recipe, stage, update, self.updates)
            batch, terms = self._forward(indices, stage, epoch, augmenting, of_method)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            means.add(loss, terms, batch.watched)
            self.optimizer.zero_grad(set_to_none=True)  # what is not in this stage's graph is left as it is
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if self.recipe.max_norm:
                cap_norms(weights, self.recipe.max_norm)
        self.progress.updates += self.updates
        shown, cost = means.result()
        self.progress.teacher_gradients += cost
        return shown

    def _forward(
        self,
        indices: Tensor,
        stage: PlannedStage,
        epoch: int,
        augmenting: torch.Generator,
        of_method: torch.Generator,
    ) -> tuple[Batch, dict[str, Tensor]]:
        images, labels, taught = self.feed.batch(indices, augmenting)
        with autocast(self.run.device):
            batch = Batch(
                images=images,
                labels=labels,
                student=self.pupil.student(images),
                teacher=taught,
                student_model=self.pupil.student,
                teacher_model=self.pupil.teacher,
                connectors=self.pupil.connectors,
                stage=stage.name,
                epoch=epoch,
                epochs=stage.epochs,
                progress=epoch / stage.epochs,
                generator=of_method,
                pixel_range=self.run.pixels.range,
            )
            return batch, self.pupil.method.losses(batch)

    def _validate(self) -> dict[str, float]:
        """Accuracy and loss on the validation images. Raises Diverged."""
        score = validate(self.pupil.student, self.run.data.validation, self.run.pixels)
        if not math.isfinite(score.loss):
            raise Diverged
        return {"val/accuracy": score.accuracy, "val/loss": score.loss}

    def _save(self) -> None:
        if self.file is None:
            return
        tensors = {f"trained.{name}": value for name, value in self.trained.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        checkpoint.save(self.file, tensors, dataclasses.asdict(self.progress), self.run.owner)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@contextlib.contextmanager
def _global_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators for a while, for layers that take no generator of their own."""
    devices = (
        [torch.cuda.current_device() if device.index is None else device.index]
        if device.type == "cuda"
        else []
    )
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
