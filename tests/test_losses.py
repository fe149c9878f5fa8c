"""Values of the losses: worked by hand, or by loops that share nothing with the implementation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench import losses
from kdbench.relations import CHUNKS


def tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: float, tolerance: float = 1e-12) -> None:
    assert actual.shape == ()
    assert actual.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


def pooled(feature: np.ndarray, height: int, width: int) -> np.ndarray:
    """Adaptive average pooling: cell i of n covers floor(i·size/n) up to ceil((i+1)·size/n)."""
    rows, columns = feature.shape[2:]
    result = np.zeros((*feature.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            top, bottom = i * rows // height, -(-(i + 1) * rows // height)
            left, right = j * columns // width, -(-(j + 1) * columns // width)
            result[:, :, i, j] = feature[:, :, top:bottom, left:right].mean((2, 3))
    return result


def smooth_l1(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_soft_target_by_hand():
    # at T = 2 the student says (1/4, 3/4), the teacher (3/4, 1/4): KL = 3/4 ln 3 - 1/4 ln 3; times T² = 4
    student = torch.tensor([[0.0, 2 * math.log(3)]], dtype=torch.float64)
    close(losses.soft_target(student, student.flip(1), 2.0), 2 * math.log(3))


def test_soft_target_is_the_batch_mean():
    student, teacher = tensor(3, 7), tensor(3, 7, seed=1)
    p, q = ([softmax(row / 3) for row in logits.numpy()] for logits in (student, teacher))
    expected = np.mean([9 * (b * np.log(b / a)).sum() for a, b in zip(p, q, strict=True)])
    close(losses.soft_target(student, teacher, 3.0), expected)


def test_soft_target_survives_extreme_logits():
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = losses.soft_target(student, torch.tensor([[-1e4, 1e4, 0.0]]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert student.grad is not None and student.grad.isfinite().all()


def test_hint_is_the_mean_over_all_elements():
    # squares 1, 4, 0, 9 over 4 elements
    close(losses.hint(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]])), 3.5)


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("sizes", [((5, 4), (5, 4)), ((5, 4), (3, 2)), ((3, 2), (5, 4)), ((5, 2), (3, 4))])
def test_attention(p, sizes):
    students = [tensor(3, 6, *sizes[0]), tensor(3, 2, 2, 3, seed=1)]
    teachers = [tensor(3, 8, *sizes[1], seed=2), tensor(3, 9, 2, 3, seed=3)]
    expected = 0.0
    for student, teacher in zip(students, teachers, strict=True):
        size = np.minimum(student.shape[2:], teacher.shape[2:])
        maps = []
        for feature in (student, teacher):
            energy = (np.abs(pooled(feature.numpy(), *size)) ** p).mean(1).reshape(3, -1)
            maps.append(energy / np.sqrt((energy**2).sum(1, keepdims=True)))
        expected += ((maps[0] - maps[1]) ** 2).mean()
    close(losses.attention(students, teachers, p), expected)


def test_attention_pools_the_feature_and_not_its_square():
    # columns of the student average to (0, 3): Q = (0, 1); their squares would to (4, 9). Teacher: Q = (1, 0)
    student = torch.tensor([[[[2.0, 3.0], [-2.0, 3.0]]]])
    close(losses.attention([student], [torch.tensor([[[[5.0, 0.0]]]])]), 1.0)


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_fsp(side):
    shapes = [(3, 2, 5, 4), (3, 6, 2, 3), (3, 4, 4, 3)]  # the larger map is now the first, now the second
    others = [(3, 2, 6, 6), (3, 6, 3, 3), (3, 4, 3, 3)]  # the networks may differ in size
    ours, theirs = [tensor(*s, seed=i) for i, s in enumerate(shapes)], [tensor(*s, seed=9) for s in others]
    if side == "teacher":
        ours, theirs = theirs, ours
    expected = 0.0
    for layer in range(2):
        flows = []
        for network in (ours, theirs):
            first, second = network[layer].numpy(), network[layer + 1].numpy()
            height, width = np.minimum(first.shape[2:], second.shape[2:])
            first, second = pooled(first, height, width), pooled(second, height, width)
            flow = np.zeros((3, first.shape[1], second.shape[1]))
            for b, i, j in np.ndindex(*flow.shape):
                flow[b, i, j] = (first[b, i] * second[b, j]).sum() / (height * width)
            flows.append(flow)
        expected += ((flows[0] - flows[1]) ** 2).mean()
    close(losses.fsp(ours, theirs), expected)


def test_fsp_refuses_unequal_channels():
    with pytest.raises(ValueError, match="layer 1 has 5 in the student and 7 in the teacher"):
        losses.fsp([tensor(3, 2, 4, 4), tensor(3, 5, 4, 4)], [tensor(3, 2, 4, 4), tensor(3, 7, 4, 4)])


def test_fsp_needs_two_layers():
    with pytest.raises(ValueError, match="at least two layers"):
        losses.fsp([tensor(3, 2, 4, 4)], [tensor(3, 2, 4, 4)])


RIGHT_TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
EQUILATERAL = torch.eye(3, dtype=torch.float64)


def test_relational_distance_of_two_triangles():
    # sides 3, 4, 5 of mean 4 against 1, 1, 1: deviations 1/4, 0, 1/4; each stands twice in the 3×3 matrix
    close(losses.relational_distance(RIGHT_TRIANGLE, EQUILATERAL), 2 * (0.5 / 16 + 0.5 / 16) / 9)


def test_relational_angle_of_two_triangles():
    # cosines 0, 3/5, 4/5 against 1/2 each; each angle stands twice among the 27 triples
    close(losses.relational_angle(RIGHT_TRIANGLE, EQUILATERAL), 2 * 0.5 * (0.25 + 0.01 + 0.09) / 27)


def relations(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(embeddings)
    distances, cosines = np.zeros((count, count)), np.zeros((count, count, count))
    for i, j in np.ndindex(count, count):
        distances[i, j] = np.sqrt(((embeddings[i] - embeddings[j]) ** 2).sum())
    for i, j, k in np.ndindex(count, count, count):
        if distances[i, j] > 0 and distances[k, j] > 0:
            product = (embeddings[i] - embeddings[j]) @ (embeddings[k] - embeddings[j])
            cosines[i, j, k] = product / (distances[i, j] * distances[k, j])
    return distances / distances[distances > 0].mean(), cosines


@pytest.mark.parametrize("chunk", [2**17, 80, 1])
def test_relations_with_equal_embeddings(chunk, monkeypatch):
    monkeypatch.setitem(CHUNKS, "cpu", chunk)
    student, teacher = tensor(6, 4), tensor(6, 5, seed=1)
    student[3], teacher[5] = student[0], teacher[1]
    (distances, cosines), (other_distances, other_cosines) = (
        relations(x.numpy()) for x in (student, teacher)
    )
    distance = np.mean([smooth_l1(d) for d in (distances - other_distances).flat])
    angle = np.mean([smooth_l1(d) for d in (cosines - other_cosines).flat])
    close(losses.relational_distance(student, teacher), distance)
    close(losses.relational_angle(student, teacher), angle)


@pytest.mark.parametrize("loss", [losses.relational_distance, losses.relational_angle])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relations_of_equal_embeddings_have_a_finite_gradient(loss, dtype):
    for value in (0.0, 0.1, 1e4):
        student = torch.full((5, 3), value, dtype=dtype, requires_grad=True)
        loss(student, tensor(5, 4).to(dtype)).backward()
        assert student.grad is not None and torch.equal(student.grad, torch.zeros_like(student))
    half = tensor(4, 3).to(dtype)
    student = torch.cat([half, half]).requires_grad_()
    loss(student, tensor(8, 4).to(dtype)).backward()
    assert student.grad is not None and student.grad.abs().max() < 10


@pytest.mark.parametrize("equal", ["student", "teacher"])
def test_relational_distance_is_zero_without_a_positive_distance(equal):
    pair = [torch.ones(5, 3), tensor(5, 3).float()]
    assert losses.relational_distance(*(pair if equal == "student" else pair[::-1])).item() == 0


@pytest.mark.parametrize("loss", [losses.relational_distance, losses.relational_angle])
def test_relations_survive_a_large_common_offset(loss):
    student, teacher = tensor(6, 64), tensor(6, 64, seed=1)
    expected = loss(student, teacher).item()
    assert loss((student + 100).float(), teacher.float()).item() == pytest.approx(expected, rel=1e-3)
    rounded = (student + 8).bfloat16()  # what bfloat16 keeps of it: compared with the same values in float64
    expected = loss(rounded.double(), teacher).item()
    assert loss(rounded, teacher.bfloat16()).item() == pytest.approx(expected, rel=1e-2)


def test_relational_angle_makes_no_tensor_of_differences():
    batch, width = 16, 4096
    seen = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                seen.append(result.numel())
            return result

    student = tensor(batch, width).requires_grad_()
    with Sizes():
        losses.relational_angle(student, tensor(batch, width, seed=1)).backward()
    assert batch * width in seen
    assert max(seen) < batch * batch * width / 8


def test_activation_boundary_by_hand():
    # m = 1/2; (2+m)² for s = 2, t <= 0; (-1-m)² for s = -1, t > 0; 0 beyond the margin on the right side
    last = torch.tensor([[2.0, -1.0, -0.6], [0.2, 0.6, 0.0]])
    right = torch.tensor([[0.0, 0.1, -3.0], [-1.0, 1.0, 2.0]])
    # last layer 2.5² + 1.5² + 0 + 0.7² + 0 + 0.5² = 9.24; the one before 1.5² = 2.25, half of which counts
    first, other = torch.tensor([[1.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]])
    expected = (9.24 + 2.25 / 2) / 2 * 3 / 1000
    close(losses.activation_boundary([first, last], [other, right], 0.5), expected, 1e-6)


def test_activation_boundary_at_the_margin_itself():
    # s = m with t > 0 lies in the second case, and costs nothing; s = -m with t <= 0 in neither
    margins = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    close(losses.activation_boundary([margins], [torch.tensor([[1.0, 0.0]], dtype=torch.float64)], 1.0), 0.0)


def test_activation_agreement_by_hand():
    # 0 counts as inactive: agreeing are the first, the third and the last of five
    student = torch.tensor([[1.0, -1.0, 0.0, 2.0, -3.0]])
    teacher = torch.tensor([[0.5, 1.0, -1.0, 0.0, -0.1]])
    close(losses.activation_agreement(student, teacher), 0.6, 1e-6)


def test_self_distillation():
    logits, features = [tensor(3, 7, seed=i) for i in range(3)], [tensor(3, 5, seed=i + 5) for i in range(3)]
    labels, alpha, lambda_, temperature = torch.tensor([2, 0, 6]), 0.3, 0.02, 2.5
    rows = range(3)
    cross_entropy = [np.mean([-np.log(softmax(z[b].numpy()))[labels[b]] for b in rows]) for z in logits]
    soft = 0.0
    feature = 0.0
    for exit_ in range(2):
        for b in rows:
            target = softmax(logits[2][b].numpy() / temperature)
            predicted = softmax(logits[exit_][b].numpy() / temperature)
            soft -= alpha * temperature**2 * (target * np.log(predicted)).sum() / 3
            feature += lambda_ * ((features[exit_][b] - features[2][b]).numpy() ** 2).sum() / 3
    label = cross_entropy[2] + 0.7 * (cross_entropy[0] + cross_entropy[1])
    terms = losses.self_distillation(logits, features, labels, alpha, lambda_, temperature)
    assert list(terms) == ["label", "soft", "feature", "total"]
    for name, expected in zip(terms, (label, soft, feature, label + soft + feature), strict=True):
        close(terms[name], expected)


def test_self_distillation_detaches_the_deepest_exit_where_it_teaches():
    logits = [tensor(3, 7, seed=i).requires_grad_() for i in range(2)]
    features = [tensor(3, 5, seed=i + 5).requires_grad_() for i in range(2)]
    terms = losses.self_distillation(logits, features, torch.tensor([2, 0, 6]), 0.3, 0.02, 2.5)
    (terms["soft"] + terms["feature"]).backward()
    assert logits[1].grad is None and features[1].grad is None
    assert logits[0].grad is not None and features[0].grad is not None


def test_self_distillation_of_one_exit_is_cross_entropy():
    logits, labels = tensor(3, 7), torch.tensor([2, 0, 6])
    terms = losses.self_distillation([logits], [tensor(3, 5)], labels, 0.3, 0.02, 2.5)
    assert terms["soft"].item() == terms["feature"].item() == 0
    close(terms["total"], torch.nn.functional.cross_entropy(logits, labels).item())
