"""What one answer of a network costs: parameters, operations, time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdbench.models import MultiExit, Outputs

Network = Callable[[Tensor], Tensor | Outputs]

_RUNS = 20  # timed runs, or as many as fit into _SECONDS, but not fewer than _FEWEST
_FEWEST = 5
_SECONDS = 0.3


def parameters(model: nn.Module) -> int:
    """Trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def flops(network: Network, image: Tensor) -> int:
    """Floating-point operations for one image (1, c, h, w): two per multiplication and addition in
    convolutions and matrix products, none for the rest, as torch's own counter has it.
    """
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


@torch.no_grad()
def latency_ms(network: Network, image: Tensor) -> float:
    """Median time of one forward of one image (1, c, h, w), in milliseconds, on the image's device."""
    network(image)
    times: list[float] = []
    while len(times) < _FEWEST or (len(times) < _RUNS and sum(times) < _SECONDS):
        _wait(image.device)
        started = time.perf_counter()
        network(image)
        _wait(image.device)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def exits(network: MultiExit, image: Tensor) -> list[Network]:
    """What really runs when a multi-exit network answers at each of its exits, shallow to deep.

    A forward that is to stop at an exit is broken off where the next stage begins: at the first call of a
    module that receives the stage's feature. `image` (1, c, h, w) is run once to find these places.
    """
    calls: list[_Call] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: calls.append(_Call(module, inputs)))
        for module in network.backbone.modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        features = network.backbone(image).features[1:-1]
    for hook in hooks:
        hook.remove()
    shallow = [_Truncated(network, number, _place(calls, feature)) for number, feature in enumerate(features)]
    return [*shallow, network.backbone]


@dataclass
class _Call:
    module: nn.Module
    inputs: tuple[Any, ...]


def _place(calls: list[_Call], feature: Tensor) -> tuple[nn.Module, int]:
    """The module that first receives `feature`, and how often it was called before."""
    for position, call in enumerate(calls):
        if any(item is feature for item in call.inputs):
            return call.module, sum(before.module is call.module for before in calls[:position])
    raise ValueError("no layer receives this feature")


class _Reached(Exception):  # noqa: N818 - not an error
    """The end of the part of a network that is wanted."""


class _Truncated:
    """A multi-exit network up to one of its shallow exits."""

    def __init__(self, network: MultiExit, number: int, place: tuple[nn.Module, int]):
        self._network, self._number = network, number
        self._module, self._calls = place

    def __call__(self, image: Tensor) -> Tensor:
        """Logits of the exit."""
        left, feature = self._calls, image

        def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal left, feature
            if left == 0:
                feature = inputs[0]
                raise _Reached
            left -= 1

        hook = self._module.register_forward_pre_hook(stop)
        try:
            self._network.backbone(image)
        except _Reached:
            pass
        finally:
            hook.remove()
        logits: Tensor = self._network.linears[self._number](self._network.bottlenecks[self._number](feature))
        return logits
