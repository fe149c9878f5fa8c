"""Students that never saw some classes: how much a shift of these classes' logits repairs.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 3: a bias of +3.5 for the missing digit 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_HALVINGS = 60  # of an interval of 200: exact to the last bit
_GRID = torch.arange(-600, 601, dtype=torch.float64) / 20  # biases tried where the best is looked for


@dataclass(frozen=True)
class _Sides:
    """Logits of omitted and of kept classes, apart."""

    omitted: Tensor  # (N, classes omitted) float64
    kept: Tensor
    right_if_omitted: Tensor  # (N,) bool: whether the likeliest omitted class is the label
    right_if_kept: Tensor

    @staticmethod
    def of(logits: Tensor, labels: Tensor, classes: Sequence[int]) -> "_Sides":
        is_omitted = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        is_omitted[list(classes)] = True
        numbers = torch.arange(logits.shape[1], device=logits.device)
        omitted, kept = logits.double()[:, is_omitted], logits.double()[:, ~is_omitted]
        return _Sides(
            omitted,
            kept,
            numbers[is_omitted][omitted.argmax(1)] == labels,
            numbers[~is_omitted][kept.argmax(1)] == labels,
        )

    def right(self, bias: Tensor) -> Tensor:
        """(…, N) bool: which predictions are right with `bias` (…, 1) on the omitted classes' logits."""
        lead = self.omitted.amax(1) - self.kept.amax(1)
        return torch.where(lead + bias > 0, self.right_if_omitted, self.right_if_kept)


def bias_by_prior(logits: Tensor, labels: Tensor, classes: Sequence[int]) -> float:
    """The bias at which the mean predicted mass of the omitted `classes` equals their share of the labels.

    Logits (N, C), labels (N,) of validation images, in which the omitted classes do occur.
    """
    sides = _Sides.of(logits, labels, classes)
    prior = torch.isin(labels, torch.tensor(classes, device=labels.device)).double().mean()
    odds = sides.omitted.logsumexp(1) - sides.kept.logsumexp(1)
    low, high = -100.0, 100.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (odds + middle).sigmoid().mean() < prior:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def best_bias(logits: Tensor, labels: Tensor, classes: Sequence[int]) -> tuple[float, float]:
    """The bias with the highest accuracy on these very images, and that accuracy; ties: nearest to 0."""
    grid = _GRID.to(logits.device)
    accuracies = _Sides.of(logits, labels, classes).right(grid.view(-1, 1)).double().mean(1)
    tied = grid[accuracies == accuracies.max()]
    return float(tied[tied.abs().argmin()]), float(accuracies.max())


def accuracy_and_errors(
    logits: Tensor, labels: Tensor, classes: Sequence[int], bias: float
) -> tuple[float, int]:
    """Accuracy with `bias` on the omitted classes, and how many images of these classes are wrong."""
    right = _Sides.of(logits, labels, classes).right(torch.tensor(bias, device=logits.device))
    of_omitted = torch.isin(labels, torch.tensor(classes, device=labels.device))
    return float(right.double().mean()), int((of_omitted & ~right).sum())
