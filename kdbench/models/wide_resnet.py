"""Wide residual networks with pre-activation.

Source: Zagoruyko, Komodakis 2016, arXiv:1605.07146.
"""

from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import Dropout, conv, initialise, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import NUMBER, Site, family


class Block(nn.Module):
    """Norm, ReLU, convolution, twice. The first norm and ReLU are called by the network, which shows them."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = Dropout(dropout)
        self.conv2 = conv(outputs, outputs)
        self.shortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """The block's sum; `active` is relu(bn1(x)), from which a shortcut that changes the width starts."""
        out = functional.relu(self.bn2(self.conv1(active)))
        out = self.conv2(self.dropout(out))
        return out + (x if self.shortcut is None else self.shortcut(active))  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """Stem of 16 channels, three stages, norm, ReLU, mean over the map, `linear`.

    A stage's ReLU is the one after it: its pre-activation is the output of the next block's first norm (after
    the last stage, of the final norm).
    """

    def __init__(self, site: Site, blocks: int, widen: int):
        super().__init__()
        self.conv1 = conv(site.shape[0], 16)
        inputs = 16
        for number, width in enumerate((16 * widen, 32 * widen, 64 * widen), 1):
            layer = nn.ModuleList()
            for position in range(blocks):
                layer.append(Block(inputs, width, 2 if number > 1 and position == 0 else 1, site.dropout))
                inputs = width
            self.add_module(f"layer{number}", layer)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, site.classes)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = self.conv1(images)
        features, preacts = [], []
        for number in range(1, 4):
            for position, block in enumerate(self.get_submodule(f"layer{number}").children()):
                preact = block.get_submodule("bn1")(x)
                active = functional.relu(preact)
                if position == 0:  # the end of the stem or of the stage before
                    features.append(active)
                    preacts.append(preact)
                x = block(x, active)
        preacts.append(self.bn1(x))
        features.append(functional.relu(preacts[-1]))
        embedding = pooled(features[-1])
        return Outputs(self.linear(embedding), tuple(features), tuple(preacts[1:]), embedding)


@family(
    "wrn-<6n+4>-<k>",
    f"wrn-{NUMBER}-{NUMBER}",
    examples=("wrn-16-1", "wrn-16-2", "wrn-22-4", "wrn-28-2", "wrn-28-10", "wrn-40-1", "wrn-40-2"),
    valid=lambda depth, widen: 10 <= depth <= 1000 and depth % 6 == 4 and 1 <= widen <= 64,
)
def wide_resnet(site: Site, depth: int, widen: int) -> nn.Module:
    """`depth` layers of `widen` times 16/32/64 channels."""
    return WideResNet(site, (depth - 4) // 6, widen)
