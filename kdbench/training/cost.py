"""What one answer of a network costs: parameters, operations, time."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kdbench.models import MultiExit, Outputs

Network = Callable[[Tensor], Tensor | Outputs]

_RUNS = 20  # timed runs, or as many as fit into _SECONDS, but not fewer than _FEWEST
_FEWEST = 5
_SECONDS = 0.3


def parameters(model: nn.Module) -> int:
    """Trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def parameters_used(model: nn.Module, image: Tensor) -> int:
    """Of those that learn, how many the logits for `image` (1, c, h, w) depend on."""
    owned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        gradients = torch.autograd.grad(model(image).logits.sum(), owned, allow_unused=True)
    used = (parameter for parameter, given in zip(owned, gradients, strict=True) if given is not None)
    return sum(parameter.numel() for parameter in used)


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
    """The work that a multi-exit network does to answer `image` (1, c, h, w) at each exit, shallow to deep.

    Each is to be called with that image, to be counted and timed: a forward is broken off at the first layer
    after the exit's stage, and the exit's own layers run on what the stage gave for the image before.
    """
    events: list[object] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: events.append(module))
        for module in network.backbone.modules()
        if not list(module.children())
    ]
    with torch.no_grad(), _Recorder(events):
        features = network.backbone(image).features[1:-1]
    for hook in hooks:
        hook.remove()
    shallow = [_Truncated(network, n, feature, _place(events, feature)) for n, feature in enumerate(features)]
    return [*shallow, network.backbone]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the result of every operation."""

    def __init__(self, events: list[object]):
        super().__init__()  # type: ignore[no-untyped-call]
        self._events = events

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._events.append(result)
        return result


def _place(events: list[object], feature: Tensor) -> tuple[nn.Module, int]:
    """The layer that is called first once `feature` is there, and how often it was called before."""
    done = max(number for number, event in enumerate(events) if event is feature)
    after = next(n for n, event in enumerate(events) if n > done and isinstance(event, nn.Module))
    return events[after], sum(event is events[after] for event in events[:after])  # type: ignore[return-value]


class _Reached(Exception):  # noqa: N818 - not an error
    """The part of a forward that is wanted has been done."""


class _Truncated:
    """A multi-exit network up to one of its shallow exits."""

    def __init__(self, network: MultiExit, number: int, feature: Tensor, place: tuple[nn.Module, int]):
        self._network, self._number, self._feature = network, number, feature
        self._module, self._calls = place

    def __call__(self, image: Tensor) -> Tensor:
        """Logits of the exit for the image that it was made with."""
        left = self._calls

        def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal left
            if left == 0:
                raise _Reached
            left -= 1

        hook = self._module.register_forward_pre_hook(stop)
        try:
            self._network.backbone(image)
        except _Reached:
            pass
        finally:
            hook.remove()
        vector = self._network.bottlenecks[self._number](self._feature)
        logits: Tensor = self._network.linears[self._number](vector)
        return logits
