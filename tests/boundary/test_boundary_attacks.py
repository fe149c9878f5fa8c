"""Attacks as sources of samples: their sizes, their bounds, and the gradients that they cost."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from kdbench.boundary import attacks
from kdbench.boundary.attacks import Budget

CLASSES, BATCH = 4, 9
LOW, HIGH = (torch.tensor(values).view(1, 3, 1, 1) for values in ([-2.0, -1.5, -1.0], [2.0, 3.0, 1.0]))
GRADIENTS = {"noise": (0, 0), "fgsm": (1, 1), "bim": (6, 6), "deepfool": (1, 6), "cw": (6, 6)}
each = pytest.mark.parametrize("name", GRADIENTS)


class Counting(nn.Module):
    """A small network that counts the gradients taken of it, image by image."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.network = nn.Sequential(
                nn.Flatten(), nn.Linear(60, 30), nn.BatchNorm1d(30), nn.Tanh(), nn.Linear(30, CLASSES)
            )
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def problem() -> tuple[Counting, Tensor, Tensor]:
    model = Counting().eval()
    images = torch.rand(BATCH, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * (HIGH - LOW) + LOW
    return model, images, model(images).argmax(1)


def budget(step_size: float = 0.5, max_steps: int = 6, seed: int = 0) -> Budget:
    return Budget(step_size, max_steps, (LOW, HIGH), torch.Generator().manual_seed(seed))


@each
def test_gradients_are_counted_truly_and_within_the_budget(name):
    model, images, base = problem()
    found = getattr(attacks, name)(model, images, base, budget())
    assert model.gradients == found.steps.sum()
    low, high = GRADIENTS[name]
    assert ((low <= found.steps) & (found.steps <= high)).all()
    assert found.steps.dtype == torch.int64


@each
def test_samples_stay_images(name):
    model, images, base = problem()
    found = getattr(attacks, name)(model, images, base, budget())
    assert found.images.shape == images.shape and found.images.dtype == images.dtype
    assert not found.images.requires_grad
    assert (found.images >= LOW - 1e-5).all() and (found.images <= HIGH + 1e-5).all()
    assert not torch.equal(found.images, images)


@pytest.mark.parametrize("name", ["fgsm", "bim", "deepfool", "cw"])
def test_accepted_have_left_their_class(name):
    model, images, base = problem()
    found = getattr(attacks, name)(model, images, base, budget())
    assert torch.equal(found.accepted, model(found.images).argmax(1) != base)
    assert found.accepted.sum() >= BATCH // 2


@pytest.mark.parametrize("name", ["noise", "fgsm"])
def test_size_of_a_single_step(name):
    model, images, base = problem()
    inside = images * 0.5  # so that no bound is met
    found = getattr(attacks, name)(model, inside, base, budget(step_size=0.25))
    torch.testing.assert_close((found.images - inside).abs(), torch.full_like(images, 0.25))
    assert name != "noise" or found.accepted.all()


def test_fgsm_goes_up_the_cross_entropy():
    model, images, base = problem()
    before, after = (
        nn.functional.cross_entropy(model(x), base)
        for x in (images, attacks.fgsm(model, images, base, budget(step_size=0.01)).images)
    )
    assert after > before


def test_bim_stays_within_fgsms_distance():
    model, images, base = problem()
    found = attacks.bim(model, images, base, budget(step_size=0.25))
    assert (found.images - images).abs().max() <= 0.25 + 1e-6


def test_bim_of_one_step_is_fgsm():
    model, images, base = problem()
    one, fast = (getattr(attacks, n)(model, images, base, budget(max_steps=1)) for n in ("bim", "fgsm"))
    assert torch.equal(one.images, fast.images)


def test_noise_follows_its_generator_alone():
    model, images, base = problem()
    state = torch.get_rng_state()
    first, again, other = (attacks.noise(model, images, base, budget(seed=s)).images for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_deepfool_leaves_samples_that_are_across_already():
    model, images, base = problem()
    base[2] = (base[2] + 1) % CLASSES
    found = attacks.deepfool(model, images, base, budget())
    torch.testing.assert_close(found.images[2], images[2])


def test_what_carlini_and_wagner_cannot_move_stays():
    model, images, base = problem()
    found = attacks.cw(model, images, base, budget(step_size=1e-6))
    assert not found.accepted.any()
    assert torch.equal(found.images, images)


@each
def test_the_network_stays_as_it_was(name):
    model, images, base = problem()
    model.train()
    model.network[1].weight.requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        getattr(attacks, name)(model, images, base, budget())
    assert model.training and model.network.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5


@each
def test_no_images(name):
    model, images, base = problem()
    found = getattr(attacks, name)(model, images[:0], base[:0], budget())
    assert found.images.shape == (0, 3, 5, 4) and found.accepted.shape == found.steps.shape == (0,)


def test_foolbox_is_imported_by_the_attacks_that_use_it_alone():
    code = """
import sys, torch
sys.modules["foolbox"] = None
from kdbench.boundary import attacks
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
images, base = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
budget = attacks.Budget(0.1, 2, (torch.tensor(0.0), torch.tensor(1.0)), torch.Generator())
for source in (attacks.noise, attacks.fgsm, attacks.bim):
    source(model, images, base, budget)
try:
    attacks.deepfool(model, images, base, budget)
except ModuleNotFoundError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"
