import math

import pytest

from kdbench.methods.contract import Stage
from kdbench.training.recipe import Recipe
from kdbench.training.schedule import PlannedStage, learning_rate, plan_stages, updates_per_epoch


@pytest.mark.parametrize(
    ("shares", "epochs", "expected"),
    [
        ((1.0,), 30, (30,)),
        ((0.25, 0.75), 30, (8, 22)),  # round(7.5) is 8: Python rounds halves to even
        ((0.1, 0.2, 0.7), 10, (1, 2, 7)),
        ((0.001, 0.999), 30, (1, 29)),  # at least one
        ((0.99, 0.01), 10, (9, 1)),  # the last too
        ((0.25, 0.75), 2, (1, 1)),
        ((0.25, 0.75), 1, (1, 1)),  # fewer epochs than stages: each still gets one
        ((0.4, 0.4, 0.2), 3, (1, 1, 1)),
    ],
)
def test_epochs_are_divided_by_share(
    shares: tuple[float, ...], epochs: int, expected: tuple[int, ...]
) -> None:
    stages = [Stage(f"s{number}", share) for number, share in enumerate(shares)]
    planned = plan_stages(stages, epochs, lr=0.1)
    assert tuple(stage.epochs for stage in planned) == expected


def test_a_stage_has_its_own_peak_rate_or_the_recipes() -> None:
    planned = plan_stages([Stage("hint", 0.5, lr=0.01), Stage("distil", 0.5)], 4, lr=0.3)
    assert [stage.lr for stage in planned] == [0.01, 0.3]


@pytest.mark.parametrize(
    ("updates", "batch_size", "expected"),
    [("equal", 128, 9), ("scaled", 128, 2), ("equal", 2000, 1), ("scaled", 115, 2), ("scaled", 230, 1)],
)
def test_an_epoch_counts_full_or_present_data(updates: str, batch_size: int, expected: int) -> None:
    recipe = Recipe(updates=updates, batch_size=batch_size)
    assert updates_per_epoch(recipe, full_size=1150, size=230) == expected


def test_cosine_falls_per_update_over_the_whole_stage() -> None:
    stage = PlannedStage("distil", epochs=2, lr=0.4)
    rates = [learning_rate(Recipe(), stage, update, updates=4) for update in range(8)]
    assert rates == [pytest.approx(0.2 * (1 + math.cos(math.pi * t / 8))) for t in range(8)]
    assert rates[0] == 0.4
    assert rates[4] == pytest.approx(0.2)


def test_constant_stays() -> None:
    stage = PlannedStage("distil", epochs=2, lr=0.4)
    assert {learning_rate(Recipe(schedule="constant"), stage, update, 4) for update in range(8)} == {0.4}


def test_step_falls_between_epochs() -> None:
    recipe = Recipe(schedule={"step": {"at": [0.5, 0.75], "gamma": 0.1}})
    stage = PlannedStage("distil", epochs=4, lr=1.0)
    rates = [learning_rate(recipe, stage, update, updates=2) for update in range(8)]
    assert rates == [pytest.approx(x) for x in (1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01)]


def test_step_at_150_of_240_first_changes_epoch_151() -> None:
    recipe = Recipe(schedule={"step": {"at": [0.625], "gamma": 0.1}})
    stage = PlannedStage("distil", epochs=240, lr=1.0)
    assert learning_rate(recipe, stage, update=149, updates=1) == 1.0
    assert learning_rate(recipe, stage, update=150, updates=1) == pytest.approx(0.1)
