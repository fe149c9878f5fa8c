"""How the boundary room looks at a network: its logits, in eval mode, whatever else it returns."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdbench.models.outputs import Outputs


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """(B, C) raw logits in at least float32; `model` returns them or `Outputs`."""
    outputs = model(images)
    logits: Tensor = outputs.logits if isinstance(outputs, Outputs) else outputs
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All of `model` in eval mode inside, and each of its modules in its former mode afterwards.

    In train mode, batch normalisation would mix the samples and move its running statistics.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
