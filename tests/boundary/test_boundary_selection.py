"""Base samples and target classes of the boundary search."""

import pytest
import torch

from kdbench.boundary import draw_targets, select_base_samples


def test_base_samples_by_hand():
    # probabilities over 3 classes; all labels 0, the label's own difference does not count
    teacher = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2]]
    student = [[0.6, 0.2, 0.2], [0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.36, 0.32, 0.32]]
    # scores .02, .045, teacher wrong, student wrong, .0288 (to which the label would add .24², the most)
    labels = torch.zeros(5, dtype=torch.int64)
    logits = [torch.tensor(rows, dtype=torch.float64).log() for rows in (student, teacher)]
    assert select_base_samples(*logits, labels, 2).tolist() == [1, 4]
    assert select_base_samples(*logits, labels, 64).tolist() == [1, 4, 0]


def test_no_base_sample_where_nobody_is_right():
    logits = torch.tensor([[1.0, 0.0, 0.0]])
    chosen = select_base_samples(logits, logits, torch.tensor([2]), 4)
    assert chosen.shape == (0,) and chosen.dtype == torch.int64
    assert draw_targets(logits[chosen], torch.tensor([2])[chosen], torch.Generator()).shape == (0,)


def test_targets_have_the_teachers_probabilities_without_the_label():
    probabilities = torch.tensor([0.2, 0.5, 0.0, 0.3])
    draws = 20_000
    labels = torch.ones(draws, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    targets = draw_targets(probabilities.log().repeat(draws, 1), labels, generator)
    shares = torch.bincount(targets, minlength=4) / draws
    # p = 0.4, 0.6 of 20,000 draws: 5 standard deviations are 0.017
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.0, 0.0, 0.6]), rtol=0, atol=0.017)


def test_targets_follow_the_generator_alone():
    logits, labels = torch.randn(50, 7, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 7
    state = torch.get_rng_state()
    first, again, other = (draw_targets(logits, labels, torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_of_a_certain_teacher(dtype):
    # the softmax rounds to (0, 1, 0): without the label's class it is still (almost) all on the third
    logits = torch.tensor([[-300.0, 300.0, -200.0]], dtype=dtype)
    assert draw_targets(logits, torch.tensor([1]), torch.Generator().manual_seed(0)).tolist() == [2]


def test_the_only_target_of_two_classes():
    logits = torch.tensor([[1.0, 2.0], [90.0, -90.0]])
    assert draw_targets(logits, torch.tensor([1, 0]), torch.Generator().manual_seed(0)).tolist() == [0, 1]
