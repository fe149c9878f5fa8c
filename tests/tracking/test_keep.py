"""Which students stay: chosen on validation, never on test."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kdbench.plan import Plan, Run
from kdbench.records import Epoch, Record
from kdbench.tracking.keep import Keeper, best_final


def final(seed: int, accuracy: float, loss: float = 0.5, state: Any = "complete", test: float = 0.5) -> Any:
    metrics = {"val/accuracy": accuracy, "val/loss": loss}
    run = Run("final", f"key{seed}", "hinton", "a->b", 1.0, seed, study="s", config="tuned")
    record = Record(
        key=run.key,
        kind="final",
        state=state,
        method="hinton",
        hyperparameters={},
        seed=seed,
        history=(
            Epoch(1, "distil", 1.0, {"val/accuracy": 1.0, "val/loss": 0.0}),
            Epoch(2, "distil", 2.0, metrics),
        ),
        test={"test/accuracy": test},
    )
    return run, record


@pytest.mark.parametrize(
    ("finals", "winner"),
    [
        ([final(1, 0.8), final(2, 0.9)], "key2"),
        ([final(1, 0.8, test=0.99), final(2, 0.9, test=0.1)], "key2"),
        ([final(1, 0.9, loss=0.4), final(2, 0.9, loss=0.3)], "key2"),
        ([final(7, 0.9), final(3, 0.9)], "key3"),
        ([final(1, 0.95, state="diverged"), final(2, 0.9)], "key2"),
        ([final(1, 0.95, state="failed")], None),
        ([], None),
    ],
    ids=["accuracy", "test is no criterion", "loss", "seed", "diverged", "none complete", "none"],
)
def test_the_best_validates_best_at_its_last_epoch(finals: list[Any], winner: str | None) -> None:
    best = best_final(finals)
    assert (best and best[0].key) == winner


def ended(keeper: Keeper, runs: list[tuple[Run, Record]], accuracies: list[float], make: Any) -> list[Any]:
    return [
        keeper.ended(run, make.done(record, accuracy))
        for (run, record), accuracy in zip(runs, accuracies, strict=True)
    ]


def at(runs: list[tuple[Run, Record]], fraction: float) -> list[tuple[Run, Record]]:
    return [final for final in runs if final[0].fraction == fraction]


def test_one_is_kept_when_all_tuned_finals_have_ended(small: Plan, make: Any) -> None:
    study = small.studies[0]
    finals = at(make.tuned(small, study), 1.0)
    (default, asked), *_ = make.defaults(small, study)
    keeper = Keeper(small)
    assert not keeper.ended(default, make.done(asked, 0.99)).drop, (
        "it may turn out to be the best configuration"
    )
    first, second = ended(keeper, finals, [0.8, 0.9], make)
    assert (first.keep, first.champion, first.drop) == ((), "", ())
    assert [run.key for run, _ in second.keep] == [finals[1][0].key] and second.champion == finals[1][0].key
    assert set(second.drop) == {finals[0][0].key, default.key}


def test_only_the_largest_fraction_has_a_champion(small: Plan, make: Any) -> None:
    finals = at(make.tuned(small, small.studies[0]), 0.5)
    *_, last = ended(Keeper(small), finals, [0.9, 0.8], make)
    assert [run.key for run, _ in last.keep] == [finals[0][0].key] and last.champion == ""


def test_a_default_that_is_the_best_is_kept(small: Plan, make: Any) -> None:
    study = small.studies[0]
    keeper = Keeper(small)
    defaults = make.defaults(small, study)
    ended(keeper, defaults, [0.8, 0.9], make)
    both = [(dataclasses.replace(run, config="tuned,default"), record) for run, record in defaults]
    *_, last = ended(keeper, both, [0.8, 0.9], make)
    assert last.champion == defaults[1][0].key and last.drop == (defaults[0][0].key,)


def test_a_failed_final_that_is_tried_again_changes_the_champion(small: Plan, make: Any) -> None:
    finals = at(make.tuned(small, small.studies[0]), 1.0)
    keeper = Keeper(small)
    (one, first), (other, second) = finals
    keeper.ended(one, make.done(first, 0.95, state="failed", reason="oom"))
    assert keeper.ended(other, make.done(second, 0.8)).champion == other.key
    assert keeper.ended(one, make.done(first, 0.95)).champion == one.key


def test_no_champion_where_every_final_failed(small: Plan, make: Any) -> None:
    finals = at(make.tuned(small, small.studies[0]), 1.0)
    keeper = Keeper(small)
    decisions = [keeper.ended(run, make.done(record, state="failed", reason="oom")) for run, record in finals]
    assert not decisions[-1].keep and not decisions[-1].champion


def test_all_or_none_can_be_kept(small: Plan, make: Any, tmp_path: Path) -> None:
    every = make.plan(tmp_path, "students.keep=all")
    finals = at(make.tuned(every, every.studies[0]), 1.0)
    first, second = ended(Keeper(every), finals, [0.9, 0.8], make)
    assert [run.key for run, _ in first.keep] == [finals[0][0].key] and first.champion == ""
    assert {run.key for run, _ in second.keep} == {finals[0][0].key, finals[1][0].key}
    assert second.champion == finals[0][0].key and not second.drop
    none = make.plan(tmp_path, "students.keep=none")
    finals = at(make.tuned(none, none.studies[0]), 1.0)
    first, _ = ended(Keeper(none), finals, [0.9, 0.8], make)
    assert not first.keep and first.drop == (finals[0][0].key,)
