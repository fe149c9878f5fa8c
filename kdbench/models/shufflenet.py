"""ShuffleNetV2 for small images.

Sources: Ma et al. 2018, arXiv:1807.11164; the CIFAR variant of arXiv:1910.10699's code (RepDistiller), whose
tables call it "ShuffleNetV2": a 1x1 stem without stride, then 116/232/464 channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import conv, initialise, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import Site, family

_STAGES = ((116, 3), (232, 7), (464, 3))  # channels, blocks after the one that halves the map
_EMBEDDING = 1024


class Branch(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions with norms; gives the pre-activation."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 1), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3, stride, groups=outputs), nn.BatchNorm2d(outputs)
        self.conv3, self.bn3 = conv(outputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Before the last ReLU."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.bn2(self.conv2(out))))  # type: ignore[no-any-return]


class Unit(nn.Module):
    """One half of the channels goes through the branch, the other past it."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch = Branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's pre-activation: the half that goes past is not negative, the ReLU leaves it as it is."""
        past, through = x.chunk(2, dim=1)
        return _shuffled(torch.cat([past, self.branch(through)], 1))


class Down(nn.Module):
    """Halves the map; all channels go through both branches."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.conv1, self.bn1 = conv(inputs, inputs, 3, 2, groups=inputs), nn.BatchNorm2d(inputs)
        self.conv2, self.bn2 = conv(inputs, half, 1), nn.BatchNorm2d(half)
        self.branch = Branch(inputs, half, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The unit's pre-activation."""
        past = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return _shuffled(torch.cat([past, self.branch(x)], 1))


class ShuffleNetV2(nn.Module):
    """Stem, three stages, a 1x1 convolution to the embedding, `linear`."""

    def __init__(self, site: Site):
        super().__init__()
        inputs = 24
        self.conv1, self.bn1 = conv(site.shape[0], inputs, 1), nn.BatchNorm2d(inputs)
        self.stages = nn.ModuleList()
        for channels, units in _STAGES:
            rest = [Unit(channels) for _ in range(units)]
            self.stages.append(nn.ModuleList([Down(inputs, channels), *rest]))
            inputs = channels
        self.conv2, self.bn2 = conv(inputs, _EMBEDDING, 1), nn.BatchNorm2d(_EMBEDDING)
        self.linear = nn.Linear(_EMBEDDING, site.classes)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = functional.relu(self.bn1(self.conv1(images)))
        features, preacts = [x], []
        for stage in self.stages:
            for unit in stage.children():
                preact = unit(x)
                x = functional.relu(preact)
            features.append(x)
            preacts.append(preact)
        embedding = pooled(functional.relu(self.bn2(self.conv2(x))))
        return Outputs(self.linear(embedding), tuple(features), tuple(preacts), embedding)


def _shuffled(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels."""
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


@family("shufflenetv2", "shufflenetv2", examples=("shufflenetv2",), valid=lambda: True)
def shufflenet_v2(site: Site) -> nn.Module:
    """The one of full width."""
    return ShuffleNetV2(site)
