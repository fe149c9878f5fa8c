"""Networks around networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdbench.models.outputs import Outputs


class Renormalised(nn.Module):
    """A network that was trained with another normalisation than the images it is given.

    Takes images normalised with `from_mean`, `from_std` and shows its model the same images normalised with
    `to_mean`, `to_std`; all per channel, of pixels in [0, 1].
    """

    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        model: nn.Module,
        from_mean: Sequence[float],
        from_std: Sequence[float],
        to_mean: Sequence[float],
        to_std: Sequence[float],
    ):
        super().__init__()
        self.model = model
        mean, std, inner_mean, inner_std = (
            torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
            for values in (from_mean, from_std, to_mean, to_std)
        )
        self.register_buffer("scale", (std / inner_std).float(), persistent=False)
        self.register_buffer("offset", ((mean - inner_mean) / inner_std).float(), persistent=False)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) images in the outer normalisation."""
        outputs = self.model(images * self.scale + self.offset)
        assert isinstance(outputs, Outputs)  # noqa: S101 - for mypy
        return outputs
