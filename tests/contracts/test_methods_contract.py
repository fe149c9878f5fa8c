"""What every registered method, and a composition of each kind, must hold to."""

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdbench import data, methods, models
from kdbench.methods import contract
from kdbench.methods.contract import Batch, Method, Scalar
from kdbench.methods.testing import forward
from kdbench.models.outputs import Exit, Outputs
from kdbench.search import spaces

COMPOSITIONS = ("bss+fsp", "at+rkd", "hinton+byot", "fitnet+ab")
LABELS = (*methods.names(), *COMPOSITIONS)
SHAPE = (1, 8, 8)

# Terms that are not zero where student and teacher agree, each with the reason.
NOT_ZERO = {
    "hard": "the labels are another target",
    "hint": "a regressor stands between the two features",
    "activation_boundary": "units must clear 0 by a margin",
    "exit_label": "the labels again",
    "exit_soft": "a cross-entropy, and the exits are not the teacher",
    "exit_feature": "the exits are not the teacher",
}
NOT_ZERO_OF = {("ban-dkpp", "soft"): "the student faces the permuted teacher"}
# Noise goes by the place in the batch; every other draw has one possible outcome with two classes.
DRAWN_BY_PLACE = {("adv-noise", "boundary")}


def test_something_is_tested() -> None:
    assert len(methods.names()) >= 22


@dataclass
class Case:
    """A method between two networks, in float64 and in the modes of a training."""

    method: Method
    student: nn.Module
    teacher: nn.Module | None
    connectors: nn.Module | None

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.method.stages())

    def batch(self, images: Tensor, labels: Tensor, stage: str | None = None) -> Batch:
        stage = stage or self.stages[-1]
        return forward(self.student, self.teacher, images, labels, stage=stage, connectors=self.connectors)


def make_case(
    label: str,
    *,
    classes: int = 3,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    values: Mapping[str, Scalar] | None = None,
) -> Case:
    """Untrained networks unless others are given."""
    method = methods.make(label, values)
    student = student or models.build("resnet8w4", shape=SHAPE, classes=classes, seed=1)
    teacher = teacher or models.build("resnet14w8", shape=SHAPE, classes=classes, seed=2)
    if "exits" in method.needs:
        student = models.MultiExit(student, SHAPE, classes, seed=3)
    shapes = [models.network(network.float(), "net", SHAPE, classes) for network in (student, teacher)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        connectors = method.build(shapes[0], None if method.teacher == "none" else shapes[1])
    return Case(
        method,
        student.double().train(),
        None if method.teacher == "none" else teacher.double().eval().requires_grad_(False),
        None if connectors is None else connectors.double().train(),
    )


def classes_of(label: str) -> int:
    """The fewest classes that the method takes."""
    return 3 if "three-classes" in methods.get(label).needs else 2


def samples(given: Case, size: int = 6, wrong_by: int = 0) -> tuple[Tensor, Tensor]:
    """Images, and labels that are so many classes after what the teacher says (no teacher: the student)."""
    images = torch.rand(size, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        logits = (given.teacher or given.student)(images).logits
    return images, (logits.argmax(1) + wrong_by) % logits.shape[1]


def mapped(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    return Outputs(
        change(outputs.logits),
        tuple(map(change, outputs.features)),
        tuple(map(change, outputs.preacts)),
        change(outputs.embedding),
        tuple(Exit(change(each.logits), change(each.feature)) for each in outputs.exits),
    )


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("label", LABELS)
def test_terms_and_watched_values_are_finite_numbers(label: str) -> None:
    given = make_case(label)
    for stage in given.stages:
        batch = given.batch(*samples(given), stage)
        terms = given.method.losses(batch)
        assert terms, f"no term in stage {stage}"
        for name, value in (terms | batch.watched).items():
            assert value.shape == () and value.isfinite(), name
        assert not any(value.requires_grad for value in batch.watched.values())


@pytest.mark.parametrize("label", LABELS)
def test_the_student_gets_a_finite_gradient_and_the_teacher_none(label: str) -> None:
    """Also where the teacher's parameters and outputs ask for one."""
    given = make_case(label)
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        leaves.append(tensor.detach().clone().requires_grad_())
        return leaves[-1]

    for stage in given.stages:
        given.student.zero_grad()
        batch = given.batch(*samples(given), stage)
        if batch.teacher is not None and given.teacher is not None:
            given.teacher.requires_grad_(True)
            batch = replace(batch, teacher=mapped(batch.teacher, leaf))
        total(given.method.losses(batch)).backward()
        gradients = [p.grad for p in given.student.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any((gradient != 0).any() for gradient in gradients)
        assert all(tensor.grad is None for tensor in leaves)
        if given.teacher is not None:
            assert all(p.grad is None for p in given.teacher.parameters())


@pytest.mark.parametrize("label", [name for name in LABELS if methods.get(name).teacher != "none"])
def test_terms_are_zero_where_the_student_is_the_teacher(label: str) -> None:
    """All but those that `NOT_ZERO` explains; the student runs in eval mode, as the teacher does."""
    network = models.build("resnet14w8", shape=SHAPE, classes=3, seed=2)
    given = make_case(label, student=copy.deepcopy(network), teacher=network)
    given.student.eval()
    seen = []
    for stage in given.stages:
        for name, value in given.method.losses(given.batch(*samples(given), stage)).items():
            term = name.rpartition(".")[2]
            if term not in NOT_ZERO and (label, term) not in NOT_ZERO_OF:
                seen.append(name)
                assert abs(value.item()) < 1e-9, name
    assert seen or label in ("ban-cwtm", "ban-dkpp")


@pytest.mark.parametrize("label", LABELS)
def test_the_order_of_a_batch_does_not_matter(label: str) -> None:
    given = make_case(label, classes=classes_of(label))
    images, labels = samples(given)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for stage in given.stages:
        terms = given.method.losses(given.batch(images, labels, stage))
        moved = given.method.losses(given.batch(images[order], labels[order], stage))
        for name in terms.keys() - {term for method, term in DRAWN_BY_PLACE if method == label}:
            torch.testing.assert_close(terms[name], moved[name], msg=name)


@pytest.mark.parametrize("label", LABELS)
def test_ends_of_the_ranges_are_no_special_points(label: str) -> None:
    """At an end of its range a hyperparameter gives finite terms, near to those of a value just inside."""
    networks = {
        name: models.build(name, shape=SHAPE, classes=3, seed=1) for name in ("resnet8w4", "resnet14w8")
    }
    for name, domain in spaces.of_method(label).items():
        assert domain.low is not None and domain.high is not None
        for end, inside in ((domain.low, 1e-7), (domain.high, -1e-7)):
            near = end + inside * (domain.high - domain.low) if domain.kind == "float" else end
            here, there = (
                make_case(
                    label,
                    values={name: value},
                    student=copy.deepcopy(networks["resnet8w4"]),
                    teacher=networks["resnet14w8"],
                )
                for value in (int(end) if domain.kind == "int" else end, near)
            )
            for stage in here.stages:
                terms, others = (
                    given.method.losses(given.batch(*samples(given), stage)) for given in (here, there)
                )
                for term, value in terms.items():
                    assert value.isfinite(), f"{name} = {end}: {term}"
                    torch.testing.assert_close(
                        value, others[term], rtol=1e-3, atol=1e-5, msg=f"{name}: {term}"
                    )


@pytest.mark.parametrize("label", LABELS)
def test_bfloat16_outputs_give_nearly_the_same_terms(label: str) -> None:
    """As under autocast: the networks' outputs are rounded to 8 bits, the losses are computed as ever."""
    given = make_case(label)
    for stage in given.stages:
        batch = given.batch(*samples(given), stage)
        rounded = replace(
            batch,
            student=mapped(batch.student, lambda tensor: tensor.bfloat16()),
            teacher=None
            if batch.teacher is None
            else mapped(batch.teacher, lambda tensor: tensor.bfloat16()),
            connectors=None if given.connectors is None else copy.deepcopy(given.connectors).bfloat16(),
        )
        exact, coarse = given.method.losses(batch), given.method.losses(rounded)
        for name, value in exact.items():
            torch.testing.assert_close(coarse[name].double(), value, rtol=0.05, atol=0.02, msg=name)


@pytest.mark.parametrize("label", LABELS)
def test_a_batch_of_one(label: str) -> None:
    given = make_case(label)
    for stage in given.stages:
        terms = given.method.losses(given.batch(*samples(given, size=1), stage))
        assert all(value.isfinite() for value in terms.values())
        total(terms).backward()


@pytest.mark.parametrize("label", LABELS)
def test_a_batch_that_the_teacher_has_all_wrong(label: str) -> None:
    """No base sample qualifies: the boundary terms are zero, and everything goes on."""
    given = make_case(label)
    for stage in given.stages:
        terms = given.method.losses(given.batch(*samples(given, wrong_by=1), stage))
        total(terms).backward()
        assert all(value.isfinite() for value in terms.values())
        assert terms.get("boundary", torch.zeros(())).item() == 0


@pytest.mark.parametrize("label", LABELS)
def test_two_classes_work_or_are_refused_with_a_reason(label: str) -> None:
    network = models.network(models.build("resnet8w4", shape=SHAPE, classes=2, seed=0), "net", SHAPE, 2)
    reason = methods.check(label, network, network)
    if "three-classes" in methods.get(label).needs:
        assert reason == "it needs more than two classes; missing in net"
        return
    assert reason is None
    given = make_case(label, classes=2)
    for stage in given.stages:
        assert total(given.method.losses(given.batch(*samples(given), stage))).isfinite()


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    loaded = data.load_training(data.parse("digits", Path()))
    return loaded.images[:64].double() / 255, loaded.labels[:64]


@functools.cache
def teacher_of_digits() -> nn.Module:
    """A teacher that has seen the images often enough to have most of them right."""
    network = models.build("resnet14w8", shape=SHAPE, classes=10, seed=2).double().train()
    descend(
        network.parameters(),
        lambda: nn.functional.cross_entropy(network(digits()[0]).logits, digits()[1]),
        30,
    )
    return network.eval()


def descend(parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values


@pytest.mark.parametrize("label", LABELS)
def test_the_loss_goes_down_on_digits(label: str) -> None:
    given = make_case(label, classes=10, teacher=copy.deepcopy(teacher_of_digits()))
    trained = nn.ModuleList([given.student, *([given.connectors] if given.connectors else [])])

    def loss(stage: str) -> Tensor:
        return total(given.method.losses(given.batch(*digits(), stage)))

    for stage in given.stages:
        values = descend(trained.parameters(), functools.partial(loss, stage), 20)
        assert sum(values[-3:]) / 3 < values[0] * 0.99, stage


# The smallest network of each form of name, as its own teacher, and pairs across families.
FAMILIES = (
    "mlp-32x2",
    "mobilenetv2",
    "resnet8",
    "resnet8w4",
    "resnet8x4",
    "resnet18",
    "shufflenetv2",
    "torchvision:mobilenet_v3_small",
    "vgg8",
    "wrn-10-1",
)
LARGE = ("resnet18", "shufflenetv2", "torchvision:mobilenet_v3_small", "vgg8")  # seconds each
ACROSS = (
    ("mlp-32x2", "resnet8"),
    ("resnet8w4", "mlp-32x2"),
    ("resnet8w4", "vgg8"),
    ("wrn-10-1", "resnet8x4"),
)


def test_every_family_is_tested() -> None:
    assert len(FAMILIES) == len(models.forms())
    assert all(models.check(name) is None for name in FAMILIES)


@functools.cache
def build(name: str, seed: int) -> nn.Module:
    return models.build(name, shape=(1, 16, 16), classes=3, seed=seed)


@pytest.mark.parametrize(
    "pair",
    [
        *(pytest.param((name, name), marks=[pytest.mark.slow] if name in LARGE else []) for name in FAMILIES),
        *ACROSS,
    ],
    ids="<-".join,
)
def test_each_pair_works_or_is_refused_with_a_reason(pair: tuple[str, str]) -> None:
    """What `check` lets pass runs a step of every stage; what it refuses it explains."""
    shape, outcomes = (1, 16, 16), {}
    for label in LABELS:
        student, teacher = build(pair[0], 1).train(), build(pair[1], 2).eval().requires_grad_(False)
        method = methods.make(label)
        if method.teacher == "self":
            teacher = build(pair[0], 2).eval().requires_grad_(False)
        shapes = [
            models.network(network, name, shape, 3)
            for network, name in ((student, pair[0]), (teacher, pair[1]))
        ]
        reason = methods.check(label, *shapes)
        outcomes[label] = reason
        if reason is not None:
            assert len(reason) > 20
            continue
        if "exits" in method.needs:
            student = models.MultiExit(student, shape, 3, seed=3).train()
        connectors = method.build(shapes[0], None if method.teacher == "none" else shapes[1])
        images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
        for stage in method.stages():
            taught = None if method.teacher == "none" else teacher
            batch = forward(
                student, taught, images, torch.tensor([0, 1, 2, 0]), stage=stage.name, connectors=connectors
            )
            total(method.losses(batch)).backward()
    assert outcomes["original"] is outcomes["hinton"] is outcomes["rkd"] is None
    vectors = ["mlp" in name for name in pair]
    assert (outcomes["at"] is None) == (not any(vectors) and pair != ("resnet8w4", "vgg8"))
    assert (outcomes["fitnet"] is None) == (vectors[0] == vectors[1])


class Faulty(Method):
    """Base of methods that are wrong in one way each."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"fault": self.fault(batch.student.logits, batch.teacher_outputs.logits)}

    @abstractmethod
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor: ...


class NotANumber(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return student.mean() / 0


class TeachesTheTeacher(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean()


class OfTheFirstImage(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher)[0].square().mean()


class NotZeroAtTheTeacher(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher - 1).square().mean()


class SpreadOfTheBatch(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).std(dim=0).mean()  # no number for a batch of one


class Upwards(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1 / (1 + (student - teacher).abs().mean().detach() + 0 * student.sum())


class InDoubleOnly(Faulty):
    def fault(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student * 300 - teacher * 300).sum().sin()


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (test_terms_and_watched_values_are_finite_numbers, NotANumber),
        (test_the_student_gets_a_finite_gradient_and_the_teacher_none, TeachesTheTeacher),
        (test_the_order_of_a_batch_does_not_matter, OfTheFirstImage),
        (test_terms_are_zero_where_the_student_is_the_teacher, NotZeroAtTheTeacher),
        (test_a_batch_of_one, SpreadOfTheBatch),
        (test_the_loss_goes_down_on_digits, Upwards),
        (test_bfloat16_outputs_give_nearly_the_same_terms, InDoubleOnly),
    ],
)
def test_the_checks_see_faults(
    check: Callable[[str], None], fault: type[Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = dataclass(frozen=True)(fault)
    monkeypatch.setitem(contract._registry, "faulty", frozen)
    with pytest.raises(AssertionError):
        check("faulty")
