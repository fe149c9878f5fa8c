"""How alike two boundaries are: the two measures by hand, and both searches over real networks."""

import math

import pytest
import torch
from torch import Tensor, nn

from kdbench.boundary import (
    angle_similarity,
    boundary_similarity,
    boundary_supporting_samples,
    draw_targets,
    magnitude_similarity,
)

#            norms 5 and 10, angle 0; 2 and 1, right angle; both zero; one zero
STUDENT = torch.tensor([[3.0, 4.0], [2.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).view(4, 1, 1, 2)
TEACHER = torch.tensor([[6.0, 8.0], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]]).view(4, 1, 1, 2)


def test_magnitude_similarity_by_hand():
    similarity = magnitude_similarity(STUDENT, TEACHER)
    assert similarity.shape == ()
    assert similarity.item() == pytest.approx((1 / 2 + 1 / 2 + 1 + 0) / 4)


def test_angle_similarity_by_hand():
    similarity = angle_similarity(STUDENT, TEACHER)
    assert similarity.shape == ()
    assert similarity.item() == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert angle_similarity(STUDENT[:1], -TEACHER[:1]).item() == pytest.approx(-1)


def test_angles_of_small_perturbations_are_angles():
    assert angle_similarity(STUDENT[:2] * 1e-9, TEACHER[:2] * 1e9).item() == pytest.approx(0.5)


@pytest.mark.parametrize("similarity", [magnitude_similarity, angle_similarity])
def test_similarity_of_nothing_is_nan(similarity):
    assert math.isnan(similarity(torch.zeros(0, 3, 5, 4), torch.zeros(0, 3, 5, 4)).item())


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        last = nn.Linear(30, 3)
        nn.init.normal_(last.weight, std=2.0)  # logits as far apart as those of trained networks
        return nn.Sequential(nn.Flatten(), nn.Linear(60, 30), nn.Dropout(0.5), nn.Tanh(), last)


def problem(*models: nn.Module) -> tuple[Tensor, Tensor]:
    """Images and labels, of which the first model is right on all, with one wrong label in front."""
    images = torch.randn(40, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    labels = models[0].eval()(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return images, labels


def test_a_network_is_like_itself():
    model = network(0)
    similarity = boundary_similarity(
        model, model, *problem(model), generator=torch.Generator().manual_seed(0)
    )
    assert (similarity.magsim, similarity.angsim) == (pytest.approx(1), pytest.approx(1))
    assert 0 < similarity.pairs < 40


def test_pairs_are_searched_from_the_same_images_and_targets():
    student, teacher = network(2), network(1)
    images, labels = problem(student)
    settings = {"step_size": 0.1, "epsilon": 1e-2, "max_steps": 8, "clip": (-2.5, 2.5)}
    student.train()
    found = boundary_similarity(
        student, teacher, images, labels, generator=torch.Generator().manual_seed(5), **settings, count=9
    )
    assert student.training
    student.eval()
    teacher.eval()
    chosen = [
        i
        for i in range(40)
        if student(images[i : i + 1]).argmax() == labels[i] == teacher(images[i : i + 1]).argmax()
    ][:9]
    targets = draw_targets(teacher(images[chosen]), labels[chosen], torch.Generator().manual_seed(5))
    own, other = (
        boundary_supporting_samples(model, images[chosen], labels[chosen], targets, **settings)
        for model in (student, teacher)
    )
    both = own.accepted & other.accepted
    moved = [(found.images - images[chosen])[both] for found in (own, other)]
    assert 1 < found.pairs == both.sum() < min(own.accepted.sum(), other.accepted.sum())
    assert found.magsim == pytest.approx(magnitude_similarity(*moved).item())
    assert found.angsim == pytest.approx(angle_similarity(*moved).item())


def test_batches_change_nothing():
    student, teacher = network(0), network(1)
    images, labels = problem(student)
    whole, parts = (
        boundary_similarity(
            student, teacher, images, labels, generator=torch.Generator().manual_seed(5), batch_size=size
        )
        for size in (256, 7)
    )
    assert whole.pairs == parts.pairs > 0
    assert (whole.magsim, whole.angsim) == (pytest.approx(parts.magsim), pytest.approx(parts.angsim))


def test_no_pair():
    model = network(0)
    images, labels = problem(model)
    similarity = boundary_similarity(model, model, images[:1], labels[:1], generator=torch.Generator())
    assert similarity.pairs == 0
    assert math.isnan(similarity.magsim) and math.isnan(similarity.angsim)
