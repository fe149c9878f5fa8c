"""What an epoch's history shows of its updates."""

import math

import torch
from torch import Tensor

COST = (
    "teacher_gradients"  # the watched value that is summed over a whole training instead of shown per epoch
)


class Diverged(Exception):
    """The loss is no number any more."""


class Averages:
    """Sums on the device, read once an epoch; and a look now and then whether the loss is still a number."""

    def __init__(self, look_every: int):
        self._look_every = look_every  # updates
        self._updates = 0
        self._loss: Tensor | None = None
        self._terms: dict[str, Tensor] = {}
        self._watched: dict[str, tuple[Tensor, int]] = {}  # sum, and updates that had it

    def add(self, loss: Tensor, terms: dict[str, Tensor], watched: dict[str, Tensor]) -> None:
        """One update. Raises Diverged; a loss that once was no number makes the sum none for ever."""
        loss = loss.detach()
        self._loss = loss if self._loss is None else self._loss + loss
        self._updates += 1
        if self._updates % self._look_every == 0:
            self._look()
        for name, term in terms.items():
            value = term.detach().float()
            self._terms[name] = self._terms[name] + value if name in self._terms else value
        for name, seen in watched.items():
            total, count = self._watched.get(name, (torch.zeros((), device=loss.device), 0))
            self._watched[name] = (total + seen.detach().float(), count + 1)

    def result(self) -> tuple[dict[str, float], float]:
        """`train/…`, means over the updates, and the sum of the teacher's gradients. Raises Diverged."""
        shown = {"train/loss": self._look() / self._updates}
        cost = float(self._watched.pop(COST)[0]) if COST in self._watched else 0.0
        shown |= {f"train/{name}": float(value) / self._updates for name, value in self._terms.items()}
        shown |= {f"train/{name}": float(total) / count for name, (total, count) in self._watched.items()}
        return shown, cost

    def _look(self) -> float:
        loss = math.nan if self._loss is None else float(self._loss)
        if not math.isfinite(loss):
            raise Diverged
        return loss
