"""How numbers lie in memory on each kind of device: bfloat16 and channels-last on CUDA, float32 elsewhere."""

import contextlib
from typing import TypeVar

import torch
from torch import Tensor, nn

Movable = TypeVar("Movable", Tensor, nn.Module)


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 for forwards and losses on CUDA; nothing elsewhere. Evaluations never use it."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def exact(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Whole float32 also in CUDA's convolutions, so that another machine finds the same accuracy."""
    if device.type == "cuda":
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return contextlib.nullcontext()


def to_device(value: Movable, device: torch.device) -> Movable:
    """`value` on `device`, its four-dimensional tensors channels-last on CUDA."""
    if device.type == "cuda":
        return value.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    return value.to(device)
