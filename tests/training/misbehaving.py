"""Methods that do on purpose what methods should not, or that show what the trainer gave them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.methods.contract import Batch, Context, Method, Network, Prepared, Stage


def cross_entropy(batch: Batch) -> Tensor:
    return F.cross_entropy(batch.student.logits, batch.labels)


@dataclass(frozen=True)
class Base(Method):
    teacher: ClassVar = "none"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"hard": cross_entropy(batch)}


@dataclass(frozen=True)
class Nan(Base):
    """No number from a chosen epoch on."""

    epoch: int = 2

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        factor = float("nan") if batch.epoch >= self.epoch else 1.0
        return {"hard": factor * cross_entropy(batch)}


@dataclass(frozen=True)
class Broken(Base):
    """Raises an error of its choice, after having disturbed what it can reach."""

    error: ClassVar[BaseException] = ValueError("no such layer")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        torch.manual_seed(1234)
        torch.rand(7)
        raise type(self).error


@dataclass(frozen=True)
class Recording(Base):
    """Shows each batch to a function."""

    show: ClassVar[Callable[[Batch], None]] = print

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        type(self).show(batch)
        return super().losses(batch)


@dataclass(frozen=True)
class Staged(Base):
    """Two stages; the first trains the stem and a connector only."""

    share: float = 0.5

    def stages(self) -> tuple[Stage, ...]:
        return Stage("first", self.share, lr=0.01), Stage("second", 1 - self.share)

    def build(self, student: Network, teacher: Network | None) -> nn.Module:
        return nn.Conv2d(student.features[0][0], 3, 1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if batch.stage == "first":
            assert batch.connectors is not None
            return {"stem": batch.connectors(batch.student.features[0]).square().mean()}
        return super().losses(batch)


@dataclass(frozen=True)
class Random(Base):
    """Uses all the randomness there is, watches, and counts."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        own = torch.rand(len(batch.labels), generator=batch.generator, device=batch.labels.device)
        everybodys = torch.rand(len(batch.labels))  # what a layer without a generator of its own draws from
        batch.watched["drawn"] = own.mean()
        batch.watched["teacher_gradients"] = torch.tensor(10)
        if batch.epoch > 1:
            batch.watched["late"] = torch.tensor(2.0)
        each = F.cross_entropy(batch.student.logits, batch.labels, reduction="none")
        return {
            "hard": ((0.5 + own + everybodys) * each).mean(),
            "size": 0.01 * batch.student.logits.abs().mean(),
        }


@dataclass(frozen=True)
class Chain(Base):
    """Two networks before the student: a fresh one, and a copy of it trained on a few images."""

    made: ClassVar[list[Context]] = []
    members: ClassVar[list[nn.Module]] = []

    def prepare(self, context: Context) -> Prepared:
        weights = torch.rand(len(context.labels), generator=context.generator, device=context.labels.device)
        first = context.train("first", Random(), teacher=context.teacher, epochs=2)
        second = context.train("second", Random(), teacher=first, start=first, epochs=1, sampling=weights)
        type(self).made[:] = [context]
        type(self).members[:] = [first, second]
        return Prepared(teacher=second, members=(first, second))


@dataclass(frozen=True)
class SameTag(Base):
    def prepare(self, context: Context) -> Prepared:
        for _ in range(2):
            context.train("one", Base(), teacher=None, epochs=1)
        return Prepared(None)
