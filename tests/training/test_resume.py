import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from misbehaving import Chain, Random, Staged
from torch import nn

from kdbench.data import TrainingData
from kdbench.methods.contract import Batch, Method
from kdbench.records import Epoch
from kdbench.training import Trained, train
from kdbench.training.job import Job

MakeJob = Callable[..., Job]
Register = Callable[[type[Method]], str]


class Killed(BaseException):
    """Like SystemExit: no error, and nobody may catch it."""


def _killed_after(epoch: int) -> Callable[[Epoch], None]:
    def on_epoch(told: Epoch) -> None:
        if told.epoch == epoch:
            raise Killed

    return on_epoch


def _equal(one: Trained, other: Trained) -> bool:
    networks = [(one.student, other.student)]
    if one.ensemble is not None and other.ensemble is not None:
        networks.append((one.ensemble, other.ensemble))
    states = [(first.state_dict(), second.state_dict()) for first, second in networks]
    same = all(torch.equal(first[name], second[name]) for first, second in states for name in first)
    return same and one.history == other.history and (one.ensemble is None) == (other.ensemble is None)


CASES = {
    "one stage": (Random, {}),
    "adamw": (Random, {"optimizer": "adamw", "schedule": "constant"}),
    "two stages": (Staged, {"epochs": 5}),
    "chain": (Chain, {}),
    "hinton": ("hinton", {"augment": "crop-flip"}),
    "fitnet": ("fitnet", {}),
    "dropout": ("original", {"dropout": 0.5, "max_norm": 1.0}),
    "byot": ("byot", {"augment": "none"}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_training_ends_with_the_same_bits(
    digits: TrainingData,
    make_job: MakeJob,
    registered: Register,
    teacher: nn.Module,
    tmp_path: Path,
    case: str,
) -> None:
    """Killed after every epoch in turn, the last included: then nothing is left to train."""
    method, recipe = CASES[case]
    job = make_job(
        recipe,
        method=method if isinstance(method, str) else registered(method),
        model="mlp-24x2" if case == "dropout" else "resnet8w2",
    )
    taught = teacher if case in ("hinton", "fitnet") else None
    undisturbed = train(job, digits, taught, "cpu", checkpoints=tmp_path / "whole")
    for epoch in range(1, len(undisturbed.history) + 1):
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            train(job, digits, taught, "cpu", checkpoints=folder, on_epoch=_killed_after(epoch))
        told: list[Epoch] = []
        resumed = train(job, digits, taught, "cpu", checkpoints=folder, on_epoch=told.append)
        assert _equal(resumed, undisturbed)
        assert tuple(told) == undisturbed.history
        for name in ("time/updates", "time/teacher_gradients"):
            assert resumed.time[name] == undisturbed.time[name]


def test_killed_again_and_again(
    digits: TrainingData, make_job: MakeJob, registered: Register, tmp_path: Path
) -> None:
    job = make_job(method=registered(Chain))
    undisturbed = train(job, digits, None, "cpu")
    for epoch in range(1, len(undisturbed.history) + 1):
        with pytest.raises(Killed):
            train(job, digits, None, "cpu", checkpoints=tmp_path, on_epoch=_killed_after(epoch))
    assert _equal(train(job, digits, None, "cpu", checkpoints=tmp_path), undisturbed)


def test_with_nothing_left_nothing_is_trained(
    digits: TrainingData, make_job: MakeJob, registered: Register, tmp_path: Path
) -> None:
    calls = []

    class Counted(Random):
        def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
            calls.append(batch.epoch)
            return super().losses(batch)

    job = make_job(method=registered(Counted))
    first = train(job, digits, None, "cpu", checkpoints=tmp_path)
    assert len(calls) == 8
    again = train(job, digits, None, "cpu", checkpoints=tmp_path)
    assert len(calls) == 8
    assert _equal(first, again)
    assert again.time == first.time


def test_resumed_epochs_are_told_apart_where_that_is_wanted(
    digits: TrainingData, make_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(make_job(), digits, None, "cpu", checkpoints=tmp_path, on_epoch=_killed_after(3))
    resumed: list[tuple[Epoch, ...]] = []
    told: list[Epoch] = []
    trained = train(
        make_job(), digits, None, "cpu", checkpoints=tmp_path, on_epoch=told.append, on_resumed=resumed.append
    )
    assert resumed == [trained.history[:3]]
    assert tuple(told) == trained.history[3:]


def test_a_damaged_checkpoint_starts_again(
    digits: TrainingData, make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = train(make_job(), digits, None, "cpu", checkpoints=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        again = train(make_job(), digits, None, "cpu", checkpoints=tmp_path)
    assert "starts again" in caplog.text
    assert _equal(again, undisturbed)


def test_another_jobs_checkpoint_is_not_used(
    digits: TrainingData, make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(make_job(), digits, None, "cpu", checkpoints=tmp_path)
    other = train(make_job(seed=2), digits, None, "cpu", checkpoints=tmp_path)
    assert "belongs to another training" in caplog.text
    assert _equal(other, train(make_job(seed=2), digits, None, "cpu"))
