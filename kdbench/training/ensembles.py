"""Answers of several networks together, and of the exits of one: evaluated, never a method's accuracy."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdbench.models import MultiExit, Outputs


class Average(nn.Module):
    """The mean of several networks' softmax."""

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (B, C) for normalised images (B, c, h, w)."""
        return torch.stack([member(images).logits.softmax(1) for member in self.members]).mean(0)


class ExitAverage(nn.Module):
    """The mean of the softmax of all exits of one network."""

    def __init__(self, network: MultiExit):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Outputs:
        """The network's Outputs for normalised images (B, c, h, w); logits are the mean's logarithm."""
        outputs: Outputs = self.network(images)
        each = torch.stack([leave.logits.log_softmax(1) for leave in outputs.exits])
        return replace(outputs, logits=each.logsumexp(0) - math.log(len(each)))


class ExitAlone(nn.Module):
    """One exit of a network, counted from 0, shallow to deep."""

    def __init__(self, network: MultiExit, number: int):
        super().__init__()
        self.network, self.number = network, number

    def forward(self, images: Tensor) -> Outputs:
        """The network's Outputs for normalised images (B, c, h, w); logits are the exit's."""
        outputs: Outputs = self.network(images)
        return replace(outputs, logits=outputs.exits[self.number].logits)
