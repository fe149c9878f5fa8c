"""Validation and data fractions: stratified, nested, fixed by the seed."""

import numpy as np
import pytest
import torch

from kdbench.data import split
from kdbench.data.order import ranks_within_class
from kdbench.errors import UserError
from kdbench.training.job import Split

# Uneven classes: 100, 61, 37 and 10 samples, mixed.
LABELS = np.random.default_rng(3).permutation(np.repeat([0, 1, 2, 3], [100, 61, 37, 10]))
FRACTIONS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def counts(indices: torch.Tensor) -> np.ndarray:
    return np.bincount(LABELS[indices.numpy()], minlength=4)


def test_validation_is_stratified_within_one_sample():
    for share in (0.1, 0.2, 0.37):
        held = counts(split(LABELS, Split(share, 0)).validation)
        assert (np.abs(held - share * np.bincount(LABELS)) <= 0.5 + 1e-9).all()


def test_fractions_are_nested_stratified_subsets():
    smaller: set[int] = set()
    rest = np.bincount(LABELS) - counts(split(LABELS, Split(0.2, 0)).validation)
    for fraction in FRACTIONS:
        train = split(LABELS, Split(0.2, 0, fraction)).train
        assert smaller < set(train.tolist())
        assert (np.abs(counts(train) - fraction * rest) <= 0.5 + 1e-9).all()
        smaller = set(train.tolist())


def test_validation_is_the_same_for_every_fraction_and_disjoint_from_training():
    whole = split(LABELS, Split(0.2, 0))
    assert len(whole.train) == whole.full == len(LABELS) - len(whole.validation)
    for fraction in FRACTIONS:
        part = split(LABELS, Split(0.2, 0, fraction, omit_classes=(1,)))
        assert torch.equal(part.validation, whole.validation)
        assert part.full == whole.full
        assert not set(part.train.tolist()) & set(part.validation.tolist())


def test_omitted_classes_leave_the_training_images_alone():
    without = split(LABELS, Split(0.2, 0, 0.4, omit_classes=(1, 3)))
    whole = split(LABELS, Split(0.2, 0, 0.4))
    kept = [index for index in whole.train.tolist() if LABELS[index] not in (1, 3)]
    assert without.train.tolist() == kept
    assert set(LABELS[without.validation.numpy()]) == {0, 1, 2, 3}


def test_tensors_and_arrays_split_alike_and_seeds_differ():
    first, same = split(LABELS, Split(0.2, 0)), split(torch.from_numpy(LABELS), Split(0.2, 0))
    assert torch.equal(first.train, same.train)
    other = split(LABELS, Split(0.2, 1))
    assert not torch.equal(first.validation, other.validation)
    assert first.train.tolist() == sorted(first.train.tolist())


def test_the_global_generators_are_not_touched():
    before = torch.get_rng_state()
    split(LABELS, Split(0.2, 0, 0.4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wanted", "key", "message"),
    [
        (Split(0.2, 0, 0.05), "fractions", r"given 0\.05; allowed: at least 0\.0625, so that class 3"),
        (Split(0.04, 0), "data.validation", "class 3, which has 10"),
        (Split(0.97, 0), "data.validation", "class 3, which has 10"),
        (Split(0.2, 0, omit_classes=(4,)), "data.omit_classes", "classes 0 to 3"),
        (Split(0.2, 0, omit_classes=(-1,)), "data.omit_classes", "classes 0 to 3"),
        (Split(0.2, 0, omit_classes=(0, 1, 2, 3)), "data.omit_classes", "not all"),
    ],
)
def test_an_empty_class_is_refused(wanted, key, message):
    with pytest.raises(UserError, match=message) as caught:
        split(LABELS, wanted)
    assert caught.value.mistakes[0].key == key


def test_the_named_smallest_fraction_is_allowed_and_less_is_not():
    assert (counts(split(LABELS, Split(0.2, 0, 0.0625)).train) >= 1).all()
    with pytest.raises(UserError):
        split(LABELS, Split(0.2, 0, 0.0624))


def test_ranks_count_every_class_from_zero():
    labels = np.array([1, 0, 1, 1, 0, 2])
    ranks = ranks_within_class(labels, 9)
    for label, size in ((0, 2), (1, 3), (2, 1)):
        assert sorted(ranks[labels == label]) == list(range(size))


def test_the_order_is_the_same_for_ever():
    assert ranks_within_class(np.zeros(8, dtype=np.int64), 1).tolist() == [4, 7, 0, 6, 1, 3, 5, 2]


def test_every_member_of_a_class_is_as_likely_to_come_first():
    labels = np.repeat([0, 1], [5, 7])
    first = np.zeros(12)
    for seed in range(3000):
        first += ranks_within_class(labels, seed) == 0
    for label, size in ((0, 5), (1, 7)):
        expected = 3000 / size
        deviations = np.abs(first[labels == label] - expected) / np.sqrt(expected)
        assert (deviations < 5).all()  # five standard deviations: once in a million
