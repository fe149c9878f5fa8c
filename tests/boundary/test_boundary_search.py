"""The search for boundary supporting samples: pixels, counts, and what it leaves alone."""

import pytest
import torch
from torch import Tensor, nn

from kdbench.boundary import BoundarySamples, boundary_supporting_samples
from kdbench.models.outputs import Outputs

BATCH, SHAPE, CLASSES = 12, (3, 5, 4), 7


class Counting(nn.Module):
    """A small convolutional network that counts the images it has seen."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.network = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(48, CLASSES)
            ).double()
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        logits: Tensor = 4 * self.network(images)
        return logits


def start(model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Images, what the network predicts for them, and the second most probable class."""
    images = torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        best = model(images).topk(2).indices
    return images, best[:, 0], best[:, 1]


def one_by_one(model, images, base, target, *, step_size, epsilon, max_steps, power, low, high):
    """The rule as it is written, for one sample at a time."""
    moved, predictions, steps = [], [], []
    for image, b, k in zip(images, base.tolist(), target.tolist(), strict=True):
        count = 0
        while True:
            image = image.detach().requires_grad_()
            logits = model(image[None])[0]
            prediction = logits.argmax().item()
            if prediction != b or count == max_steps:
                break
            difference = logits[b] - logits[k]
            gradient = torch.autograd.grad(difference, image)[0]
            step = (difference.detach() + epsilon) * gradient / gradient.square().sum() ** (power / 2)
            image = (image.detach() - step_size * step).clamp(low, high)
            count += 1
        moved.append(image.detach())
        predictions.append(prediction)
        steps.append(count)
    return torch.stack(moved), torch.tensor(predictions), torch.tensor(steps)


@pytest.mark.parametrize(("rule", "power", "step_size"), [("authors", 1, 0.7), ("linearised", 2, 1.0)])
@pytest.mark.parametrize("max_steps", [0, 1, 2])
@pytest.mark.parametrize("keep_other_classes", [False, True])
def test_equals_the_rule_for_one_sample_at_a_time(rule, power, step_size, max_steps, keep_other_classes):
    model = Counting().eval()
    images, base, target = start(model)
    base[4] = (base[4] + 1) % CLASSES  # not in its base class at the start
    target[5] = (base[5] + 3) % CLASSES
    settings = {"step_size": step_size, "epsilon": 1e-3, "max_steps": max_steps}
    expected, prediction, steps = one_by_one(
        model, images, base, target, **settings, power=power, low=-2.0, high=2.2
    )
    model.images = 0
    found = boundary_supporting_samples(
        model,
        images,
        base,
        target,
        **settings,
        step_rule=rule,
        clip=(-2.0, torch.full((3, 1, 1), 2.2, dtype=torch.float64)),
        keep_other_classes=keep_other_classes,
    )
    assert model.images == BATCH + found.steps.sum()
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-13)
    assert torch.equal(found.steps, steps) and found.steps.dtype == torch.int64
    accepted = prediction != base if keep_other_classes else prediction == target
    assert torch.equal(found.accepted, accepted) and found.accepted.dtype == torch.bool
    assert found.steps[4] == 0 and torch.equal(found.images[4], images[4])
    if max_steps == 2:  # the cases that matter are all there
        assert 0 < found.accepted.sum() < BATCH
        assert len(found.steps.unique()) > 2


class Linear(nn.Module):
    """Logits x·w for the first class, 0 for the second, -9 for the third; w = (3, 4), of norm 5."""

    def forward(self, images: Tensor) -> Tensor:
        first = images.flatten(1) @ torch.tensor([3.0, 4.0], dtype=images.dtype)
        return torch.stack([first, torch.zeros_like(first), torch.full_like(first, -9.0)], dim=1)


def search_linear(**settings) -> BoundarySamples:
    images = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64).view(2, 1, 1, 2)  # L = 11, L = 10
    base, target = torch.tensor([0, 0]), torch.tensor([1, 1])
    return boundary_supporting_samples(Linear(), images, base, target, **settings)


def test_one_linearised_step_lands_just_across_a_linear_boundary():
    found = search_linear(step_size=1.0, epsilon=0.5, max_steps=10, step_rule="linearised")
    after = Linear()(found.images)[:, 0]
    torch.testing.assert_close(after, torch.full((2,), -0.5, dtype=torch.float64))  # L - (L + ε) = -ε
    assert found.steps.tolist() == [1, 1] and found.accepted.tolist() == [True, True]


def test_the_authors_step_by_hand():
    # x - η (L + ε) w / ‖w‖ = (1, 2) - 0.1 · 12 · (0.6, 0.8) and (2, 1) - 0.1 · 11 · (0.6, 0.8)
    found = search_linear(step_size=0.1, epsilon=1.0, max_steps=1)
    expected = torch.tensor([[0.28, 1.04], [1.34, 0.12]], dtype=torch.float64).view(2, 1, 1, 2)
    torch.testing.assert_close(found.images, expected)
    assert found.steps.tolist() == [1, 1] and found.accepted.tolist() == [False, False]


def test_clip_bounds_each_image_after_every_update():
    low = torch.tensor([0.5, 1.5], dtype=torch.float64).view(2, 1, 1, 1)  # one bound per image
    found = search_linear(step_size=1.0, epsilon=1.0, max_steps=3, clip=(low, 9.0))
    assert found.images.flatten(1).tolist() == [[0.5, 0.5], [1.5, 1.5]]
    assert found.steps.tolist() == [3, 3]


def test_another_class_is_accepted_only_on_request():
    images, base = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), torch.tensor([0])
    settings = {"step_size": 1.0, "epsilon": 0.1, "max_steps": 9, "step_rule": "linearised"}
    # towards the third class at -9 it falls into the second one on its way
    for keep, accepted in [(False, False), (True, True)]:
        found = boundary_supporting_samples(
            Linear(), images, base, torch.tensor([2]), **settings, keep_other_classes=keep
        )
        assert found.accepted.tolist() == [accepted] and found.steps.tolist() == [1]


class Flat(nn.Module):
    """Constant logits: no gradient anywhere."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * 0 + torch.tensor([1.0, 0.0])


class Blind(nn.Module):
    """Logits that do not even depend on the images, but on a parameter."""

    def __init__(self, learns: bool) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=learns)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), 2)


@pytest.mark.parametrize("model", [Flat(), Blind(True), Blind(False)], ids=["flat", "blind", "frozen"])
@pytest.mark.parametrize("rule", ["authors", "linearised"])
@pytest.mark.parametrize("keep_other_classes", [False, True])
def test_zero_gradient_is_no_nan_and_not_accepted(model, rule, keep_other_classes):
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = boundary_supporting_samples(
        model,
        images,
        torch.tensor([0, 0, 0]),
        torch.tensor([1, 1, 0]),  # the last one aims at its own class
        step_size=1.0,
        epsilon=0.1,
        max_steps=4,
        step_rule=rule,
        keep_other_classes=keep_other_classes,
    )
    assert torch.equal(found.images, images)
    assert found.steps.tolist() == [4, 4, 4]
    assert not found.accepted.any()


def test_leaves_the_network_as_it_was():
    model = Counting()
    images, base, target = start(model.eval())
    model.train()
    model.network[3].eval()
    model.network[0].weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    given = images.clone().requires_grad_()
    found = boundary_supporting_samples(model, given, base, target, step_size=0.3, epsilon=1e-4, max_steps=5)
    assert found.steps.any() and not found.images.requires_grad
    assert torch.equal(given, images) and given.grad is None
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.full_like(p, 2.0)) for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_switched_off(context):
    model = Counting().eval()
    settings = {"step_size": 0.3, "epsilon": 1e-4, "max_steps": 5}
    expected = boundary_supporting_samples(model, *start(model), **settings)
    with context():
        found = boundary_supporting_samples(model, *start(model), **settings)
    assert torch.equal(found.images, expected.images)


def test_networks_that_return_outputs():
    class WithOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Counting()

        def forward(self, images: Tensor) -> Outputs:
            return Outputs(self.inner(images), (), (), images.flatten(1))

    model = WithOutputs().eval()
    settings = {"step_size": 0.3, "epsilon": 1e-4, "max_steps": 5}
    expected = boundary_supporting_samples(model.inner, *start(model.inner), **settings)
    found = boundary_supporting_samples(model, *start(model.inner), **settings)
    assert torch.equal(found.images, expected.images)


def test_no_images():
    model = Counting()
    none = torch.zeros(0, dtype=torch.int64)
    found = boundary_supporting_samples(
        model,
        torch.zeros(0, *SHAPE, dtype=torch.float64),
        none,
        none,
        step_size=1.0,
        epsilon=0.1,
        max_steps=3,
    )
    assert model.images == 0
    assert found.images.shape == (0, *SHAPE) and found.accepted.shape == found.steps.shape == (0,)


def test_unknown_step_rule():
    with pytest.raises(ValueError, match="unknown step rule 'newton'; allowed: authors, linearised"):
        search_linear(step_size=1.0, epsilon=0.1, max_steps=1, step_rule="newton")


def test_an_outer_autocast_does_not_reach_the_search():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter).sin())
    images = torch.linspace(-2, 2, 24).view(2, 3, 2, 2).cos()
    base = network(images).argmax(1)
    search = {"step_size": 0.3, "epsilon": 1e-4, "max_steps": 5}
    plain = boundary_supporting_samples(network, images, base, (base + 1) % 4, **search)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = boundary_supporting_samples(network, images, base, (base + 1) % 4, **search)
    assert plain.steps.sum() > 0
    assert torch.equal(under.images, plain.images)
