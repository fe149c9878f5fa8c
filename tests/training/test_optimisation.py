import pytest
import torch
from torch import nn

from kdbench import models
from kdbench.training.optimisation import (
    cap_norms,
    hidden_weights,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from kdbench.training.recipe import Recipe


def test_norms_are_capped_per_unit_and_small_ones_stay() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    cap_norms([weight], 1.0)
    assert torch.allclose(weight, torch.tensor([[0.6, 0.8], [0.3, 0.4]]), atol=1e-6)


def test_the_classifier_is_not_capped() -> None:
    model = models.build("mlp-10x2", shape=(1, 8, 8), classes=10, seed=0)  # as wide as it has classes
    assert [tuple(weight.shape) for weight in hidden_weights(model)] == [(10, 64), (10, 10)]
    assert all(weight is not model.linear.weight for weight in hidden_weights(model))


def test_exits_are_not_hidden_units() -> None:
    backbone = models.build("resnet8w2", shape=(1, 8, 8), classes=3, seed=0)
    wrapped = models.MultiExit(backbone, (1, 8, 8), 3, seed=0)
    assert [id(weight) for weight in hidden_weights(wrapped)] == [id(w) for w in hidden_weights(backbone)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_optimiser_goes_on_as_the_first_would_have(optimizer: str) -> None:
    def step(parameters: list[nn.Parameter], using: torch.optim.Optimizer) -> None:
        using.zero_grad(set_to_none=True)
        parameters[0].square().sum().backward()  # the second parameter never has a gradient
        for group in using.param_groups:
            group["lr"] = 0.1
        using.step()

    recipe = Recipe(optimizer=optimizer)
    first = [nn.Parameter(torch.arange(3.0)), nn.Parameter(torch.ones(2))]
    one = make_optimizer(recipe, first)
    step(first, one)
    second = [nn.Parameter(parameter.detach().clone()) for parameter in first]
    other = make_optimizer(recipe, second)
    restore_optimizer(other, {name: value.clone() for name, value in optimizer_tensors(one).items()})
    for _ in range(2):
        step(first, one)
        step(second, other)
    assert torch.equal(first[0], second[0])
    assert torch.equal(second[1], torch.ones(2)), "what has no gradient is not even decayed"
