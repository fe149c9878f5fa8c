"""Chains of trainings through the real trainer, on a fifth of the digits."""

import dataclasses

import pytest
import torch
from torch import nn

from kdbench import data, models, training
from kdbench.data import DatasetSpec, Facts, TrainingData
from kdbench.methods.specialist_ensemble import Probabilities, SpecialistEnsemble
from kdbench.training.job import Job, Split
from kdbench.training.recipe import Recipe

SPEC = DatasetSpec("digits")
RECIPE = Recipe(epochs=4, updates="scaled", lr=0.02)


@pytest.fixture(scope="module")
def facts() -> Facts:
    return data.facts(SPEC)


def digits(facts: Facts, omit: tuple[int, ...] = ()) -> TrainingData:
    return data.make_training(SPEC, facts, split(omit), "cpu")


def split(omit: tuple[int, ...] = ()) -> Split:
    return Split(validation=0.2, seed=0, fraction=0.2, omit_classes=omit)


def run(
    facts: Facts, method: str, omit: tuple[int, ...] = (), **hyperparameters: int
) -> tuple[training.Trained, nn.Module]:
    """Trains with a teacher that nobody has trained, which teaches as much as any about how chains work."""
    job = Job(
        dataset=dataclasses.asdict(SPEC),
        dataset_hash=facts.content_hash,
        split=split(omit),
        model="resnet8w2",
        recipe=RECIPE,
        seed=1,
        method=method,
        hyperparameters=hyperparameters,
    )
    teacher = models.build("resnet8w2", shape=facts.shape, classes=10, seed=5)
    return training.train(job, digits(facts, omit), teacher, "cpu"), teacher


def lengths(trained: training.Trained) -> dict[str, int]:
    stages = [epoch.stage for epoch in trained.history]
    return {stage: stages.count(stage) for stage in dict.fromkeys(stages)}


@pytest.mark.parametrize("label", ["ban", "ban-cwtm", "ban-dkpp"])
def test_generations_are_trained_one_after_the_other(facts: Facts, label: str) -> None:
    trained, _ = run(facts, label, generations=2)
    assert lengths(trained) == {"generation-1": 4, "distil": 4}
    assert trained.state == "complete"
    images = torch.randn(3, *facts.shape)
    assert trained.ensemble is not None
    averaged = trained.ensemble(images)
    assert averaged.shape == (3, 10)
    own = trained.student(images).logits.softmax(1)
    assert not torch.allclose(averaged, own)  # two other generations are in it


def test_an_ensemble_of_one_generation_and_its_teacher(facts: Facts) -> None:
    trained, teacher = run(facts, "ban")
    images = torch.randn(3, *facts.shape)
    both = (trained.student(images).logits.softmax(1) + teacher(images).logits.softmax(1)) / 2
    assert trained.ensemble is not None
    torch.testing.assert_close(trained.ensemble(images), both)


def test_a_refinery_refines_once_before_the_student(facts: Facts) -> None:
    trained, _ = run(facts, "label-refinery")
    assert lengths(trained) == {"generation-1": 4, "distil": 4}
    assert {name for epoch in trained.history for name in epoch.metrics} >= {"train/soft", "val/accuracy"}
    assert trained.ensemble is None


def test_specialists_are_trained_and_distilled_back(facts: Facts) -> None:
    """10 classes in 3 groups of 4, a quarter of 4 epochs each."""
    trained, _ = run(facts, "specialists")
    counts = lengths(trained)
    assert counts.pop("distil") == 4
    assert counts and set(counts) <= {"specialist-0", "specialist-1", "specialist-2"}
    assert set(counts.values()) == {1}
    assert isinstance(trained.ensemble, Probabilities)
    ensemble = trained.ensemble.network
    assert isinstance(ensemble, SpecialistEnsemble)
    assert (ensemble.groups.sum(1) == 4).all()
    probabilities = trained.ensemble(torch.randn(3, *facts.shape))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
    # every specialist sees its own classes rarer in the data than the rest, so that its dustbin grows
    assert (ensemble.correction > 0).all()


def test_settings_of_specialists(facts: Facts) -> None:
    trained, _ = run(facts, "specialists", clusters=2, classes_per_specialist=3, specialist_epochs=2)
    counts = lengths(trained)
    assert counts.pop("distil") == 4
    assert set(counts.values()) == {2}
    assert isinstance(trained.ensemble, Probabilities)
    assert isinstance(trained.ensemble.network, SpecialistEnsemble)
    assert (trained.ensemble.network.groups.sum(1) == 3).all()


def test_a_group_without_an_image_has_no_specialist(facts: Facts) -> None:
    """Of three classes left in the data, a group of nine has all images and another may have none."""
    trained, _ = run(facts, "specialists", omit=tuple(range(3, 10)), clusters=5, classes_per_specialist=2)
    assert trained.state == "complete"
    assert isinstance(trained.ensemble, Probabilities)
    assert isinstance(trained.ensemble.network, SpecialistEnsemble)
    assert trained.ensemble.network.groups[:, :3].any(1).all()
    assert trained.ensemble.network.correction.isfinite().all()


def test_equal_jobs_give_equal_bits(facts: Facts) -> None:
    first, second = (run(facts, "specialists")[0].student.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
