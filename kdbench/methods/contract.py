"""What a method is: a frozen dataclass of hyperparameters that turns a batch into named loss terms."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from kdbench.models.outputs import Outputs

Scalar = float | int | str
# Whose knowledge a method distils: the pair's teacher; "self", the student's own model trained first by the
# training recipe (a planned teacher); or nobody's.
TeacherNeed = Literal["pair", "self", "none"]
# What both networks (student only, where there is no teacher) must provide:
# "maps" = stem and stages are (B, c, h, w) feature maps; "stages" = at least two stages; "exits" = the
# trainer wraps the student in MultiExit, so that Outputs.exits is filled; "three-classes" = C > 2.
# Anything finer (equal numbers of stages, say) a method refuses itself.
Need = Literal["maps", "stages", "exits", "three-classes"]


@dataclass(frozen=True)
class Stage:
    """One stretch of a training with its own optimiser and its own learning-rate schedule."""

    name: str
    share: float  # of the epochs; the last stage takes what the others leave
    lr: float | None = None  # peak learning rate; None: the recipe's


@dataclass(frozen=True)
class Batch:
    """One update as a method sees it. Both forwards are done; the teacher's outputs carry no gradient."""

    images: Tensor  # (B, c, h, w) float, normalised
    labels: Tensor  # (B,) int64
    student: Outputs
    teacher: Outputs | None
    student_model: nn.Module  # in train mode, normalised images -> Outputs
    teacher_model: nn.Module | None  # in eval mode, frozen, takes the same normalised images
    connectors: nn.Module | None  # what `build` returned, trained with the student
    stage: str  # name of the current stage
    epoch: int  # from 1, within the stage
    epochs: int  # of the stage
    progress: float  # epoch / epochs, in (0, 1]
    generator: torch.Generator  # the only source of randomness a method may use; on the images' device
    pixel_range: tuple[Tensor, Tensor]  # (1, c, 1, 1) each: normalised images of pixel values 0 and 1
    # Where `losses` leaves 0-d values that are no losses (counts, agreements, costs), to be logged as
    # `train/<name>`. "teacher_gradients" is summed over the training, all others are averaged over the epoch.
    watched: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def teacher_outputs(self) -> Outputs:
        """What the teacher says; for methods that need one. Raises ValueError where there is none."""
        if self.teacher is None:
            raise ValueError("this method needs a teacher, and the batch has none")
        return self.teacher


@dataclass(frozen=True)
class Network:
    """A network's shape as `build` and the checks see it: features of one sample, without the batch axis."""

    name: str
    classes: int
    features: tuple[tuple[int, ...], ...]  # (c, h, w) or (d,), stem first
    preacts: tuple[tuple[int, ...], ...]
    embedding: int


class Context(Protocol):
    """What `prepare` may use to train the other networks of a chain."""

    teacher: nn.Module | None  # the teacher of the pair, or the planned teacher of a "self" method
    labels: Tensor  # (n,)
    classes: int
    epochs: int  # of the final training
    generator: torch.Generator
    student_name: str

    @property
    def images(self) -> Tensor:
        """(n, c, h, w) float, normalised, not augmented: the student's training images."""
        ...

    def train(
        self,
        tag: str,
        objective: "Method",
        *,
        teacher: nn.Module | None,
        start: nn.Module | None = None,
        epochs: int | None = None,
        sampling: Tensor | None = None,
    ) -> nn.Module:
        """Train one more network over the ordinary trainer and return it frozen, in eval mode.

        `tag` names it in the history and the checkpoints and seeds it; `start` is copied and trained on, None
        is a fresh student; `sampling` (n,) holds non-negative weights by which training images are drawn,
        None is the endless sequence of shuffled passes. The objective's own `prepare` is not called.
        """
        ...


@dataclass(frozen=True)
class Prepared:
    """What a chain made before its last training."""

    teacher: nn.Module | None  # of the last training
    members: tuple[nn.Module, ...] = ()  # whose softmax is averaged with the student's for the ensemble
    # Or a whole ensemble of its own: images -> probabilities (B, C). It may have a buffer `covering` (C,) of
    # int64: how many of its members know each class; then it is evaluated by that number, too.
    ensemble: nn.Module | None = None


@dataclass(frozen=True)
class Method(ABC):
    """Base of every method. A subclass is a frozen dataclass of hyperparameters under `@method(...)`."""

    label: ClassVar[str]
    source: ClassVar[str]
    teacher: ClassVar[TeacherNeed] = "pair"
    needs: ClassVar[frozenset[Need]] = frozenset()
    # Hyperparameters that the extra terms, first stages and connectors use: what a composition borrows.
    extra: ClassVar[tuple[str, ...]] = ()
    # Hyperparameters that are never searched (a suite may still fix them to another value).
    fixed: ClassVar[tuple[str, ...]] = ()
    # What the published tables set differently from the defaults: the second enqueued trial, {} for none.
    published: ClassVar[Mapping[str, Scalar]] = {}

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted 0-d terms that the trainer sums and logs as `train/<term>`.

        "hard" and "soft" are the task terms; every other name is an extra term that a composition may borrow.
        What else is worth logging goes into `batch.watched`.
        """

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """Why this pair cannot run the method, beyond what `needs` says; None if it can."""
        return None

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; the last one is the one that trials are compared in."""
        return (Stage("distil", 1.0),)

    def build(self, student: Network, teacher: Network | None) -> nn.Module | None:
        """Trainable connectors between the two networks' features, or None."""
        return None

    def prepare(self, context: Context) -> Prepared:
        """Train the networks that come before the last one in a chain."""
        return Prepared(context.teacher)


M = TypeVar("M", bound=Method)
V = TypeVar("V", bound=Scalar)
_registry: dict[str, type[Method]] = {}


def hyperparameter(default: V, comment: str) -> V:
    """A field of a method: its default, and in words its range, its unit and what it does."""
    field: Any = dataclasses.field(default=default, metadata={"comment": comment})
    return cast(V, field)


def method(label: str, *, source: str) -> Callable[[type[M]], type[M]]:
    """Register a frozen dataclass as the method `label`; `source` is its paper ("arXiv:1503.02531").

    Raises ValueError for a label that is taken or a class that is not a frozen dataclass.
    """

    def register(cls: type[M]) -> type[M]:
        if label in _registry:
            raise ValueError(f"the method {label!r} is registered, by {_registry[label].__qualname__}")
        parameters = cls.__dict__.get("__dataclass_params__")  # its own, not the base's
        if parameters is None or not parameters.frozen:
            raise ValueError(f"{cls.__qualname__} must be a frozen dataclass of hyperparameters")
        cls.label, cls.source = label, source
        _registry[label] = cls
        return cls

    return register
