"""Parts that several networks share."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that a training is reproducible and can be resumed.

    Source: Srivastava et al. 2014; kept units are divided by 1 - p.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p  # in [0, 1); share of units that are dropped
        self.generator: torch.Generator | None = None  # on the device of the images

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself in eval mode or at p = 0. Raises RuntimeError in training without a generator."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise RuntimeError("dropout needs a generator: call models.use_generator(model, generator) first")
        draws = torch.rand(x.shape, generator=self.generator, device=x.device)
        return x * (draws >= self.p) / (1 - self.p)


def use_generator(model: nn.Module, generator: torch.Generator) -> None:
    """Let every dropout in `model` draw from `generator`, which must be on the model's device."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def initialise(model: nn.Module) -> None:
    """He's initialisation of every convolution, by fan-out (arXiv:1502.01852); the rest stays torch's."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias; keeps the map's size at stride 1, halves it, rounded up, at stride 2."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)


def pooled(x: Tensor) -> Tensor:
    """Mean over the map: (B, c, h, w) to (B, c)."""
    return x.mean((2, 3))
