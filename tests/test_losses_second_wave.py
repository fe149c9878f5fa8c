"""Values of the losses that later methods use: worked by hand, or by loops apart from the implementation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench import losses


def tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: float) -> None:
    assert actual.shape == ()
    assert actual.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def unit(row: np.ndarray) -> np.ndarray:
    return row / math.sqrt((row**2).sum())


def test_similarity_preserving():
    student, teacher = tensor(3, 2, 4, 5), tensor(3, 8, 2, 1, seed=1)
    rows = []
    for feature in (student, teacher):
        flat = feature.numpy().reshape(3, -1)
        rows.append(np.array([unit(np.array([a @ b for b in flat])) for a in flat]))
    close(losses.similarity_preserving(student, teacher), ((rows[0] - rows[1]) ** 2).sum() / 9)


def test_correlation_congruence_by_hand():
    # differences (1, 2), (3, 0), (1, 5): neighbours give 1·3 + 2·0 = 3 and 3·1 + 0·5 = 3, mean 3
    student = torch.tensor([[1.0, -2.0], [3.0, 0.0], [-1.0, 5.0]], dtype=torch.float64)
    close(losses.correlation_congruence(student, torch.zeros_like(student)), 3.0)


def test_correlation_congruence_of_one_sample_is_zero():
    close(losses.correlation_congruence(tensor(1, 4), tensor(1, 4, seed=1)), 0.0)


def test_probabilistic_transfer():
    student, teacher = tensor(4, 6), tensor(4, 3, seed=1)
    probabilities = []
    for feature in (student, teacher):
        x = np.array([row / (math.sqrt((row**2).sum()) + 1e-7) for row in feature.numpy()])
        kernel = (x @ x.T + 1) / 2
        probabilities.append(kernel / kernel.sum(1, keepdims=True))
    ours, theirs = probabilities
    expected = (theirs * np.log((theirs + 1e-7) / (ours + 1e-7))).mean()
    close(losses.probabilistic_transfer(student, teacher), expected)


def test_neuron_selectivity():
    student, teacher = tensor(2, 3, 5, 4), tensor(2, 6, 5, 4, seed=1)

    def kernel(a: Tensor, b: Tensor) -> float:
        values = [
            (unit(x.numpy().ravel()) @ unit(y.numpy().ravel())) ** 2
            for maps, others in zip(a, b, strict=True)
            for x in maps
            for y in others
        ]
        return float(np.mean(values))

    expected = kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)
    close(losses.neuron_selectivity(student, teacher), expected)


def test_factor_transfer():
    student, teacher = tensor(3, 2, 5, 4), tensor(3, 6, 5, 4, seed=1)
    factors = [
        np.array([unit((sample**2).mean(0).ravel()) for sample in feature.numpy()])
        for feature in (student, teacher)
    ]
    close(losses.factor_transfer(student, teacher), np.abs(factors[0] - factors[1]).mean())


@pytest.mark.parametrize("loss", [losses.neuron_selectivity, losses.factor_transfer])
def test_the_larger_map_is_pooled(loss):
    small, large = tensor(3, 2, 2, 2), tensor(3, 4, 4, 6, seed=1)
    pooled = large.reshape(3, 4, 2, 2, 2, 3).mean((3, 5))  # blocks of 2×3
    close(loss(small, large), loss(small, pooled).item())
    close(loss(large, small), loss(pooled, small).item())


@pytest.mark.parametrize(
    ("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.5, 0.0, 1.0), (0.0, 2.0, 2.0)]
)
def test_decoupled(alpha, beta, temperature):
    student, teacher, labels = tensor(3, 7), tensor(3, 7, seed=1), [6, 0, 3]
    expected = 0.0
    for s, t, label in zip(student.numpy(), teacher.numpy(), labels, strict=True):
        p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum() for z in (s, t))
        target = q[label] * math.log(q[label] / p[label])
        target += (1 - q[label]) * math.log((1 - q[label]) / (1 - p[label]))
        p, q = (np.delete(x, label) / (1 - x[label]) for x in (p, q))
        expected += temperature**2 * (alpha * target + beta * (q * np.log(q / p)).sum()) / 3
    close(losses.decoupled(student, teacher, torch.tensor(labels), alpha, beta, temperature), expected)


def test_decoupled_of_two_classes_has_no_non_target_part():
    student, teacher, labels = tensor(3, 2), tensor(3, 2, seed=1), torch.tensor([0, 1, 1])
    close(losses.decoupled(student, teacher, labels, 0.0, 8.0, 4.0), 0.0)
    soft = losses.soft_target(student, teacher, 4.0).item()  # of two classes the target part is all
    close(losses.decoupled(student, teacher, labels, 1.0, 8.0, 4.0), soft)


def test_decoupled_survives_a_certain_teacher():
    student = torch.tensor([[50.0, -50.0, 0.0]], requires_grad=True)
    loss = losses.decoupled(student, torch.tensor([[-300.0, 300.0, 0.0]]), torch.tensor([1]), 1.0, 8.0, 1.0)
    loss.backward()
    assert loss.isfinite() and student.grad is not None and student.grad.isfinite().all()
