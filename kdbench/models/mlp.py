"""Fully connected networks, as in the first distillation paper.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 3 (two hidden layers of 1200 or 800 ReLUs,
dropout).
"""

from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import Dropout
from kdbench.models.outputs import Outputs
from kdbench.models.registry import NUMBER, Site, family


class Mlp(nn.Module):
    """ReLU layers of equal width. Stem: the flattened images; stages: the hidden layers, before dropout."""

    def __init__(self, site: Site, width: int, depth: int):
        super().__init__()
        channels, height, width_of_image = site.shape
        sizes = [channels * height * width_of_image] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(sizes[i], sizes[i + 1]) for i in range(depth))
        self.dropout = Dropout(site.dropout)
        self.linear = nn.Linear(width, site.classes)
        for layer in self.hidden:
            assert isinstance(layer, nn.Linear)  # noqa: S101 - for mypy
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = images.flatten(1)
        features, preacts = [x], []
        for layer in self.hidden:
            preacts.append(layer(x))
            features.append(functional.relu(preacts[-1]))
            x = self.dropout(features[-1])
        return Outputs(self.linear(x), tuple(features), tuple(preacts), x)


@family(
    "mlp-<width>x<depth>",
    f"mlp-{NUMBER}x{NUMBER}",
    examples=("mlp-1200x2", "mlp-800x2"),
    valid=lambda width, depth: 1 <= width <= 65536 and 1 <= depth <= 64,
)
def mlp(site: Site, width: int, depth: int) -> nn.Module:
    """`depth` hidden layers of `width` units."""
    return Mlp(site, width, depth)
