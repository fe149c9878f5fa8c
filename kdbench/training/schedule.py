"""When what happens in a training: epochs of each stage, updates of an epoch, learning rate of an update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.methods.contract import Stage
from kdbench.training.recipe import Recipe


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its epochs counted."""

    name: str
    epochs: int  # >= 1
    lr: float  # peak learning rate


def plan_stages(stages: Sequence[Stage], epochs: int, lr: float) -> tuple[PlannedStage, ...]:
    """Divide `epochs` among `stages` by their shares (rounded, at least one each); the last takes the rest.

    With fewer epochs than stages every stage still gets one.
    """
    planned: list[PlannedStage] = []
    left = epochs
    for later, stage in zip(range(len(stages) - 1, -1, -1), stages, strict=True):
        most = max(1, left - later)
        count = min(most, max(1, round(stage.share * epochs))) if later else most
        planned.append(PlannedStage(stage.name, count, lr if stage.lr is None else stage.lr))
        left -= count
    return tuple(planned)


def updates_per_epoch(recipe: Recipe, full_size: int, size: int) -> int:
    """Updates that make an epoch: one pass over the images at fraction 1.0, or over those in use."""
    return math.ceil((full_size if recipe.updates == "equal" else size) / recipe.batch_size)


def learning_rate(recipe: Recipe, stage: PlannedStage, update: int, updates: int) -> float:
    """Of the update numbered `update` (from 0, within the stage) with `updates` in an epoch.

    cosine falls per update from the peak towards 0, which it would reach one update after the last; step
    multiplies by gamma at the start of every epoch before which a share `at` of the stage's epochs is done.
    """
    if recipe.schedule == "cosine":
        return stage.lr * 0.5 * (1 + math.cos(math.pi * update / (stage.epochs * updates)))
    if isinstance(recipe.schedule, str):
        return stage.lr
    step = recipe.schedule["step"]
    done = (update // updates) / stage.epochs
    passed = sum(done >= share for share in step["at"])
    return float(stage.lr * step["gamma"] ** passed)
