"""What a network looks like from outside."""

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from kdbench.methods.contract import Network


def network(model: nn.Module, name: str, shape: tuple[int, int, int], classes: int) -> "Network":
    """The shapes of `model`'s features for images of `shape` (c, h, w), by one forward of a black image.

    The model runs in eval mode without gradients and comes back in the mode it was in.
    """
    from kdbench.methods.contract import Network  # that package's contract imports this package's Outputs

    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        outputs = model(torch.zeros(1, *shape, device=device))
    model.train(training)
    return Network(
        name=name,
        classes=classes,
        features=tuple(tuple(feature.shape[1:]) for feature in outputs.features),
        preacts=tuple(tuple(preact.shape[1:]) for preact in outputs.preacts),
        embedding=outputs.embedding.shape[1],
    )
