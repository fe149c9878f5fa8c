"""What every loss promises, checked over all public functions of kdbench.losses."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from kdbench import losses

LABELS = torch.tensor([6, 0, 3])  # of 7 classes
Call = Callable[..., Tensor]  # (students, teachers, labels, *hyperparameters)


@dataclass(frozen=True)
class Case:
    """How to call one loss: shapes of its tensors and values of its hyperparameters."""

    call: Call
    shapes: tuple[tuple[int, ...], ...]
    teacher_shapes: tuple[tuple[int, ...], ...] | None = None  # None: the student's
    hyperparameters: tuple[float, ...] = ()
    zero_if_equal: bool = True
    permutable: bool = True


def single(loss: Callable[..., Tensor]) -> Call:
    return lambda students, teachers, labels, *rest: loss(students[0], teachers[0], *rest)


def layered(loss: Callable[..., Tensor]) -> Call:
    return lambda students, teachers, labels, *rest: loss(students, teachers, *rest)


LOGITS, VECTOR, OTHER_VECTOR = (3, 7), (3, 5), (3, 6)
MAPS, OTHER_MAPS = ((3, 2, 5, 4), (3, 6, 2, 3)), ((3, 4, 3, 2), (3, 5, 4, 6))
CASES = {
    "soft_target": Case(single(losses.soft_target), (LOGITS,), hyperparameters=(4.0,)),
    "hint": Case(single(losses.hint), MAPS[:1]),
    "attention": Case(layered(losses.attention), MAPS, OTHER_MAPS, (2.0,)),
    "fsp": Case(layered(losses.fsp), (*MAPS, (3, 4, 4, 3))),
    "relational_distance": Case(single(losses.relational_distance), (VECTOR,), (OTHER_VECTOR,)),
    "relational_angle": Case(single(losses.relational_angle), (VECTOR,), (OTHER_VECTOR,)),
    "activation_boundary": Case(
        layered(losses.activation_boundary), MAPS, hyperparameters=(0.5,), zero_if_equal=False
    ),
    "activation_agreement": Case(single(losses.activation_agreement), MAPS[:1], zero_if_equal=False),
    "self_distillation": Case(  # what the shallow exit learns; the deepest also learns from the labels
        lambda s, t, labels, *rest: losses.self_distillation(
            (s[0], t[0].detach()), (s[1], t[1]), labels, *rest
        )["total"],
        (LOGITS, VECTOR),
        hyperparameters=(0.3, 0.02, 2.5),
        zero_if_equal=False,
    ),
    "similarity_preserving": Case(single(losses.similarity_preserving), MAPS[:1], (OTHER_VECTOR,)),
    "correlation_congruence": Case(single(losses.correlation_congruence), (VECTOR,), permutable=False),
    "probabilistic_transfer": Case(single(losses.probabilistic_transfer), (VECTOR,), (OTHER_VECTOR,)),
    "neuron_selectivity": Case(single(losses.neuron_selectivity), MAPS[:1], OTHER_MAPS[:1]),
    "factor_transfer": Case(single(losses.factor_transfer), MAPS[:1], OTHER_MAPS[:1]),
    "decoupled": Case(
        lambda s, t, labels, *rest: losses.decoupled(s[0], t[0], labels, *rest),
        (LOGITS,),
        hyperparameters=(1.0, 8.0, 4.0),
    ),
}
DIFFERENTIABLE = [name for name in CASES if name != "activation_agreement"]
each = pytest.mark.parametrize("name", CASES)
each_differentiable = pytest.mark.parametrize("name", DIFFERENTIABLE)


def draw(shapes: tuple[tuple[int, ...], ...], seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def inputs(case: Case, seed: int = 0) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    shapes = case.shapes if case.teacher_shapes is None else case.teacher_shapes
    return draw(case.shapes, seed), draw(shapes, seed + 1)


def stacked(case: Case) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]:
    """Two students, teachers, labels and settings along a new leading axis."""
    (students, teachers), (others, other_teachers) = inputs(case), inputs(case, seed=7)
    hyperparameters = torch.tensor(case.hyperparameters, dtype=torch.float64)
    return (
        tuple(map(torch.stack, zip(students, others, strict=True))),
        tuple(map(torch.stack, zip(teachers, other_teachers, strict=True))),
        torch.stack([LABELS, LABELS.flip(0)]),
        tuple(torch.stack([value, 1.5 * value]) for value in hyperparameters),
    )


def test_every_public_function_has_a_case():
    public = {
        name
        for name, value in vars(losses).items()
        if inspect.isfunction(value) and value.__module__ == losses.__name__ and not name.startswith("_")
    }
    assert public == set(CASES)


@each
def test_a_loss_is_a_0d_tensor_in_at_least_float32(name):
    case = CASES[name]
    students, teachers = inputs(case)
    for given, expected in [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        loss = case.call(
            [s.to(given) for s in students], [t.to(given) for t in teachers], LABELS, *case.hyperparameters
        )
        assert loss.shape == () and loss.dtype == expected


@each
def test_vmap_equals_a_loop(name):
    case = CASES[name]
    students, teachers, labels, hyperparameters = stacked(case)
    together = vmap(lambda s, t, y, h: case.call(s, t, y, *h))(students, teachers, labels, hyperparameters)
    for i in range(2):
        alone = case.call(
            [s[i] for s in students], [t[i] for t in teachers], labels[i], *[h[i] for h in hyperparameters]
        )
        torch.testing.assert_close(together[i], alone, rtol=1e-12, atol=1e-14)


@each_differentiable
def test_gradients_under_vmap_equal_a_loop_of_autograd(name):
    case = CASES[name]
    students, teachers, labels, hyperparameters = stacked(case)
    together = vmap(grad(lambda s, h, t, y: case.call(s, t, y, *h), argnums=(0, 1)))(
        students, hyperparameters, teachers, labels
    )
    for i in range(2):
        leaves = [x[i].clone().requires_grad_() for x in (*students, *hyperparameters)]
        settings = leaves[len(students) :]
        case.call(leaves[: len(students)], [t[i] for t in teachers], labels[i], *settings).backward()
        for leaf, gradient in zip(leaves, (*together[0], *together[1]), strict=True):
            torch.testing.assert_close(gradient[i], leaf.grad, rtol=1e-10, atol=1e-13)


@each_differentiable
def test_gradients_are_those_of_finite_differences(name):
    case = CASES[name]
    students, teachers = inputs(case)
    students = tuple(s.requires_grad_() for s in students)
    hyperparameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in case.hyperparameters
    )

    def loss(*leaves: Tensor) -> Tensor:
        return case.call(leaves[: len(students)], teachers, LABELS, *leaves[len(students) :])

    assert torch.autograd.gradcheck(loss, (*students, *hyperparameters))


@each
def test_the_teacher_gets_no_gradient(name):
    case = CASES[name]
    students, teachers = inputs(case)
    students, teachers = (tuple(x.requires_grad_() for x in side) for side in (students, teachers))
    loss = case.call(students, teachers, LABELS, *case.hyperparameters)
    if name in DIFFERENTIABLE:
        loss.backward()
        assert all(s.grad is not None and s.grad.isfinite().all() and s.grad.any() for s in students)
    assert all(t.grad is None for t in teachers)
    assert loss.requires_grad == (name in DIFFERENTIABLE)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.zero_if_equal])
def test_zero_where_student_and_teacher_are_equal(name):
    case = CASES[name]
    students, _ = inputs(case)
    loss = case.call(students, [s.clone() for s in students], LABELS, *case.hyperparameters)
    assert loss.item() == pytest.approx(0, abs=1e-15)


@each
def test_the_order_of_the_batch_does_not_matter(name):
    case = CASES[name]
    students, teachers = inputs(case)
    order = torch.tensor([2, 0, 1])
    sides = ([x[order] for x in side] for side in (students, teachers))
    permuted = case.call(*sides, LABELS[order], *case.hyperparameters)
    plain = case.call(students, teachers, LABELS, *case.hyperparameters)
    assert torch.isclose(permuted, plain, rtol=1e-12, atol=0) == case.permutable


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_close_to_float64_of_the_same_values(name, dtype):
    case = CASES[name]
    students, teachers = ([x.to(dtype) for x in side] for side in inputs(case))
    low = case.call(students, teachers, LABELS, *case.hyperparameters)
    sides = ([x.double() for x in side] for side in (students, teachers))
    assert low.item() == pytest.approx(case.call(*sides, LABELS, *case.hyperparameters).item(), rel=1e-4)


@each
def test_autocast_does_not_lower_the_precision(name):
    case = CASES[name]
    students, teachers = ([x.float() for x in side] for side in inputs(case))
    expected = case.call(students, teachers, LABELS, *case.hyperparameters)
    with torch.autocast("cpu", torch.bfloat16):
        actual = case.call(students, teachers, LABELS, *case.hyperparameters)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)


@each_differentiable
@pytest.mark.parametrize("dead", ["student", "teacher", "both"])
def test_zeros_have_a_finite_loss_and_gradient(name, dead):
    case = CASES[name]
    students, teachers = ([x.float() for x in side] for side in inputs(case))
    if dead != "teacher":
        students = [torch.zeros_like(s) for s in students]
    if dead != "student":
        teachers = [torch.zeros_like(t) for t in teachers]
    students = [s.requires_grad_() for s in students]
    loss = case.call(students, teachers, LABELS, *case.hyperparameters)
    loss.backward()
    assert loss.isfinite()
    for student in students:
        assert student.grad is not None and student.grad.abs().max() < 1e6


@each_differentiable
def test_a_batch_of_one(name):
    case = CASES[name]
    students, teachers = ([x[:1] for x in side] for side in inputs(case))
    students = [s.requires_grad_() for s in students]
    loss = case.call(students, teachers, LABELS[:1], *case.hyperparameters)
    loss.backward()
    assert loss.isfinite()
    assert all(s.grad is not None and s.grad.isfinite().all() for s in students)


@pytest.mark.parametrize("name", ["soft_target", "hint", "correlation_congruence", "activation_agreement"])
def test_shapes_that_would_broadcast_are_refused(name):
    case = CASES[name]
    students, teachers = inputs(case)
    with pytest.raises(ValueError, match="shapes differ"):
        case.call(students, [t[:1] for t in teachers], LABELS, *case.hyperparameters)


@pytest.mark.parametrize("name", ["attention", "fsp", "activation_boundary"])
def test_unequal_numbers_of_layers_are_refused(name):
    case = CASES[name]
    students, teachers = inputs(case)
    with pytest.raises(ValueError, match="shorter|longer"):
        case.call(students, teachers[:1], LABELS, *case.hyperparameters)
