"""Optimisers made from a recipe, their state as plain tensors, and the cap on weight norms."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from kdbench.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Over `parameters`, at learning rate 0: the loop sets it before every update."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=0.0,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Momenta and counts as `<index of the parameter>.<name>`; none of parameters that were never updated."""
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave. Raises IndexError for a parameter that is not there."""
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # A step count stays where AdamW keeps it, on the CPU; momenta live beside their parameter.
        device = value.device if name == "step" else parameters[int(index)].device
        optimizer.state[parameters[int(index)]][name] = value.to(device)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def hidden_weights(model: nn.Module) -> list[Tensor]:
    """Incoming weights (units, inputs…) of hidden units: all convolutions and linear layers but the last."""
    backbone = getattr(model, "backbone", model)  # of a multi-exit network
    layers = [module for module in backbone.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return [layer.weight for layer in layers if layer is not (linears[-1] if linears else None)]


@torch.no_grad()
def cap_norms(weights: Iterable[Tensor], max_norm: float) -> None:
    """Scale down, in place, the incoming weights of every unit whose L2 norm exceeds `max_norm`.

    Source: Srebro and Shraibman 2005; Hinton et al. 2012, arXiv:1207.0580, section 2.
    """
    for weight in weights:
        weight.renorm_(2, 0, max_norm)
