import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from misbehaving import Base, Chain, Nan, Random, Recording, SameTag, Staged
from torch import nn

from kdbench import data, models
from kdbench.data import TrainingData
from kdbench.errors import UserError
from kdbench.methods.contract import Batch, Method
from kdbench.records import Epoch
from kdbench.seeds import derive
from kdbench.training import train
from kdbench.training.job import Job
from kdbench.training.recipe import Recipe

Register = Callable[[type[Method]], str]
MakeJob = Callable[..., Job]


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_history_of_a_training(digits: TrainingData, make_job: MakeJob) -> None:
    told: list[Epoch] = []
    trained = train(make_job(), digits, None, "cpu", on_epoch=told.append)
    assert trained.state == "complete"
    assert trained.reason is None
    assert tuple(told) == trained.history
    assert [epoch.epoch for epoch in told] == [1, 2, 3, 4]
    assert [epoch.rung for epoch in told] == [1.0, 2.0, 3.0, 4.0]
    assert {epoch.stage for epoch in told} == {"distil"}
    assert set(told[-1].metrics) == {"train/loss", "train/hard", "val/accuracy", "val/loss"}
    assert trained.time["time/updates"] == 8
    assert trained.time["time/teacher_gradients"] == 0
    assert trained.time["time/train_s"] > 0
    assert trained.ensemble is None
    assert not trained.student.training
    with torch.no_grad():
        logits = trained.student(
            data.normalise(digits.validation.images, digits.facts.mean, digits.facts.std)
        ).logits
    accuracy = float((logits.argmax(1) == digits.validation.labels).double().mean())
    assert accuracy == told[-1].metrics["val/accuracy"]
    loss = nn.functional.cross_entropy(logits, digits.validation.labels)
    assert told[-1].metrics["val/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_student_learns(digits: TrainingData, make_job: MakeJob) -> None:
    recipe = {"epochs": 12, "updates": "equal", "lr": 0.05}
    trained = train(make_job(recipe, model="resnet8w4"), digits, None, "cpu")
    assert trained.history[-1].metrics["val/accuracy"] > 0.6  # chance is 0.1
    assert trained.time["time/updates"] == 12 * 9


def test_a_batch_as_a_method_sees_it(
    digits: TrainingData, make_job: MakeJob, registered: Register, teacher: nn.Module
) -> None:
    seen: list[Batch] = []

    def show(batch: Batch) -> None:
        assert batch.student_model.training
        assert batch.teacher_model is None or not batch.teacher_model.training
        seen.append(batch)

    class Seen(Recording):
        pass

    Seen.show = staticmethod(show)
    Seen.teacher = "pair"
    job = make_job(
        {"epochs": 2, "batch_size": 100}, method=registered(dataclasses.dataclass(frozen=True)(Seen))
    )
    train(job, digits, teacher, "cpu")
    assert len(seen) == 6  # three updates an epoch
    first = seen[0]
    assert first.images.shape == (100, 1, 8, 8)
    assert first.student.logits.requires_grad
    assert first.teacher is not None
    assert not first.teacher.logits.requires_grad
    assert all(not parameter.requires_grad for parameter in teacher.parameters())
    assert [(batch.epoch, batch.epochs, batch.progress) for batch in (seen[0], seen[5])] == [
        (1, 2, 0.5),
        (2, 2, 1.0),
    ]
    low, high = first.pixel_range
    assert low.shape == high.shape == (1, 1, 1, 1)
    assert low.item() == pytest.approx(first.images.min().item())


def test_all_batches_have_one_size_and_cross_passes(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    seen: list[torch.Tensor] = []

    class Sizes(Recording):
        pass

    Sizes.show = staticmethod(lambda batch: seen.append(batch.images))
    recipe = {"epochs": 23, "batch_size": 100, "augment": "none"}
    train(make_job(recipe, method=registered(dataclasses.dataclass(frozen=True)(Sizes))), digits, None, "cpu")
    assert {len(images) for images in seen} == {100}
    _, counts = torch.unique(torch.cat(seen).flatten(1), dim=0, return_counts=True)
    assert len(counts) == len(digits.train) == 229
    assert set(counts.tolist()) == {30, 31}, "69 updates are 30 passes and a bit"


def test_what_is_watched_is_averaged_and_gradients_are_summed(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    trained = train(make_job(method=registered(Random)), digits, None, "cpu")
    first, second, *_ = (epoch.metrics for epoch in trained.history)
    assert 0.3 < first["train/drawn"] < 0.7
    assert "train/late" not in first
    assert second["train/late"] == 2.0
    assert "train/teacher_gradients" not in first
    assert trained.time["time/teacher_gradients"] == 80
    assert first["train/loss"] == pytest.approx(first["train/hard"] + first["train/size"], rel=1e-5)


def test_only_what_the_stage_uses_is_trained(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    """Not even weight decay or momentum moves the rest."""
    job = make_job({"epochs": 2}, method=registered(Staged))
    states = []

    def after(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    start = _state(models.build(job.model, shape=(1, 8, 8), classes=10, seed=derive(job.seed, "model")))
    with pytest.raises(KeyboardInterrupt):
        train(
            job, digits, None, "cpu", on_epoch=after, audit=lambda model: states.append(_state(model)) or 0.0
        )
    (student,) = states
    weights = [name for name in start if not name.endswith(("running_mean", "running_var", "tracked"))]
    moved = {name for name in weights if not torch.equal(student[name], start[name])}
    assert moved == {"conv1.weight", "bn1.weight", "bn1.bias"}


def test_stages_have_their_own_epochs_and_only_the_last_has_rungs(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    trained = train(make_job({"epochs": 8}, method=registered(Staged)), digits, None, "cpu")
    assert [epoch.stage for epoch in trained.history] == ["first"] * 4 + ["second"] * 4
    assert [epoch.rung for epoch in trained.history] == [0, 0, 0, 0, 2.0, 4.0, 6.0, 8.0]
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 9))
    assert "train/stem" in trained.history[0].metrics
    assert "train/stem" not in trained.history[4].metrics


def test_a_chain_trains_its_members_over_the_same_loop(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    trained = train(make_job(method=registered(Chain)), digits, None, "cpu")
    assert [epoch.stage for epoch in trained.history] == ["first"] * 2 + ["second"] + ["distil"] * 4
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 8))
    assert [epoch.rung for epoch in trained.history] == [0, 0, 0, 1.0, 2.0, 3.0, 4.0]
    assert trained.time["time/updates"] == 7 * 2, "of all networks"
    assert trained.time["time/teacher_gradients"] == 60, "of the members: the last method counts none"
    first, second = Chain.members
    assert not _same(_state(first), _state(second))
    assert not any(member.training for member in Chain.members)
    assert not any(p.requires_grad for member in Chain.members for p in member.parameters())
    (context,) = Chain.made
    assert context.images.shape == (229, 1, 8, 8)
    assert context.classes == 10
    assert context.epochs == 4
    assert context.student_name == "resnet8w2"
    assert trained.ensemble is not None
    images = torch.zeros(3, 1, 8, 8)
    expected = sum(net(images).logits.softmax(1) for net in (first, second, trained.student)) / 3
    torch.testing.assert_close(trained.ensemble(images), expected)


def test_two_networks_of_a_chain_may_not_share_a_tag(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    with pytest.raises(ValueError, match="a tag of its own, given 'one'"):
        train(make_job(method=registered(SameTag)), digits, None, "cpu")


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_loss_that_is_no_number_ends_the_training(
    digits: TrainingData, make_job: MakeJob, registered: Register, epoch: int
) -> None:
    seen = []

    class Watched(Nan):
        def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
            seen.append(batch.epoch)
            return super().losses(batch)

    job = make_job(method=registered(Watched), hyperparameters={"epoch": epoch})
    trained = train(job, digits, None, "cpu")
    assert (trained.state, trained.reason) == ("diverged", "nan")
    assert f"epoch {epoch}" in trained.message
    assert [item.epoch for item in trained.history] == list(range(1, epoch))
    assert all(math.isfinite(value) for item in trained.history for value in item.metrics.values())
    assert seen.count(epoch) == 1, "stopped at once"


def test_a_step_into_infinity_is_divergence_too(digits: TrainingData, make_job: MakeJob) -> None:
    trained = train(make_job({"lr": 1e30, "updates": "scaled", "batch_size": 230}), digits, None, "cpu")
    assert trained.state == "diverged"


def test_the_last_epoch_is_audited_like_every_other(digits: TrainingData, make_job: MakeJob) -> None:
    trained = train(make_job(), digits, None, "cpu", audit=lambda model: 0.25)
    assert [epoch.metrics["audit/test_accuracy"] for epoch in trained.history] == [0.25] * 4


def test_global_randomness_is_left_alone_and_does_not_matter(
    digits: TrainingData, make_job: MakeJob, registered: Register
) -> None:
    job = make_job(method=registered(Random))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train(job, digits, None, "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = train(job, digits, None, "cpu")
    assert _same(_state(one.student), _state(other.student))
    assert one.history == other.history


def test_another_seed_is_another_training(digits: TrainingData, make_job: MakeJob) -> None:
    one, other = (train(make_job({"epochs": 1}, seed=seed), digits, None, "cpu") for seed in (1, 2))
    assert not _same(_state(one.student), _state(other.student))


def test_the_teacher_is_not_changed(digits: TrainingData, make_job: MakeJob, teacher: nn.Module) -> None:
    before = _state(teacher)
    train(make_job({"epochs": 1}, method="hinton"), digits, teacher.train(), "cpu")
    assert _same(before, _state(teacher))


@pytest.mark.parametrize("views", ["none", 2])
def test_views_of_a_job_count(
    digits: TrainingData, make_job: MakeJob, teacher: nn.Module, views: str | int
) -> None:
    live, other = (
        train(make_job({"epochs": 1}, method="hinton", views=value), digits, teacher, "cpu").history[0]
        for value in ("auto", views)
    )
    assert live != other


def test_max_norm_holds_after_every_step(digits: TrainingData, make_job: MakeJob) -> None:
    job = make_job({"max_norm": 0.3, "lr": 0.5, "dropout": 0.5}, model="mlp-32x2")
    student = train(job, digits, None, "cpu").student
    assert max(layer.weight.norm(dim=1).max().item() for layer in student.hidden) <= 0.3 + 1e-4
    assert student.linear.weight.norm(dim=1).max().item() > 0.3


def test_dropout_is_on_in_training_and_off_after(digits: TrainingData, make_job: MakeJob) -> None:
    with_it, without = (
        train(make_job({"epochs": 1, "dropout": p}, model="mlp-32x2"), digits, None, "cpu")
        for p in (0.5, 0.0)
    )
    assert with_it.history[0].metrics["train/loss"] != without.history[0].metrics["train/loss"]
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(with_it.student(images).logits, with_it.student(images).logits)


def test_exits_are_made_where_a_method_needs_them(digits: TrainingData, make_job: MakeJob) -> None:
    trained = train(make_job({"epochs": 1}, method="byot"), digits, None, "cpu")
    assert isinstance(trained.student, models.MultiExit)


def test_a_pair_that_cannot_run_the_method_is_refused(
    digits: TrainingData, make_job: MakeJob, teacher: nn.Module
) -> None:
    job = make_job(method="at", model="mlp-8x2")
    with pytest.raises(UserError, match="feature maps"):
        train(job, digits, teacher, "cpu")
    with pytest.raises(UserError, match="needs a teacher"):
        train(make_job(method="hinton"), digits, None, "cpu")


def test_adamw_trains(digits: TrainingData, make_job: MakeJob) -> None:
    recipe = dataclasses.asdict(Recipe(optimizer="adamw", lr=0.01, epochs=6, schedule="constant"))
    trained = train(make_job(recipe), digits, None, "cpu")
    losses = [epoch.metrics["train/loss"] for epoch in trained.history]
    assert losses[-1] < losses[0]


def test_a_trained_network_can_be_copied(digits: TrainingData, make_job: MakeJob) -> None:
    trained = train(make_job({"epochs": 1, "dropout": 0.3}, model="mlp-32x2"), digits, None, "cpu")
    assert _same(_state(copy.deepcopy(trained.student)), _state(trained.student))


def test_base_needs_no_teacher() -> None:
    assert Base.teacher == "none"
