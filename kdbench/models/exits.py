"""Classifiers after the shallow stages of a network.

Source: Zhang et al. 2019, "Be Your Own Teacher", arXiv:1905.08094, section 3: a bottleneck to the deepest
width, a linear layer.
"""

import dataclasses
import math

import torch
from torch import Tensor, nn

from kdbench.models.layers import conv, initialise, pooled
from kdbench.models.network import network
from kdbench.models.outputs import Exit, Outputs


class Bottleneck(nn.Module):
    """A stage's output to a vector of the deepest width: three convolutions with norm and ReLU, the mean."""

    def __init__(self, feature: tuple[int, ...], width: int, stride: int):
        super().__init__()
        inputs, middle = feature[0], max(1, width // 4)
        maps = len(feature) == 3
        layers: list[nn.Module] = []
        for before, after, size, step in (
            (inputs, middle, 1, 1),
            (middle, middle, 3, stride),
            (middle, width, 1, 1),
        ):
            if maps:
                layers += [conv(before, after, size, step), nn.BatchNorm2d(after), nn.ReLU()]
            else:
                layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, c, h, w) or (B, d) to (B, width)."""
        out: Tensor = self.layers(feature)
        return pooled(out) if out.ndim == 4 else out


class MultiExit(nn.Module):
    """A network with a classifier after every stage: fills `Outputs.exits`; the last is its own.

    The exits are initialised from `seed`; torch's global generators stay as they are.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], classes: int, seed: int):
        super().__init__()
        self.backbone = model
        known = network(model, "", shape, classes)
        shallow, deepest = known.features[1:-1], known.features[-1]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.bottlenecks = nn.ModuleList(
                Bottleneck(feature, known.embedding, _stride(feature, deepest)) for feature in shallow
            )
            self.linears = nn.ModuleList(nn.Linear(known.embedding, classes) for _ in shallow)
            initialise(self.bottlenecks)
        device = next(model.parameters()).device
        self.bottlenecks.to(device)
        self.linears.to(device)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        outputs = self.backbone(images)
        assert isinstance(outputs, Outputs)  # noqa: S101 - for mypy
        exits = []
        for feature, bottleneck, linear in zip(
            outputs.features[1:-1], self.bottlenecks, self.linears, strict=True
        ):
            vector = bottleneck(feature)
            exits.append(Exit(linear(vector), vector))
        own = Exit(outputs.logits, outputs.embedding)
        return dataclasses.replace(outputs, exits=(*exits, own))


def _stride(feature: tuple[int, ...], deepest: tuple[int, ...]) -> int:
    if len(feature) < 3 or len(deepest) < 3:
        return 1
    return max(1, math.ceil(feature[1] / deepest[1]))
