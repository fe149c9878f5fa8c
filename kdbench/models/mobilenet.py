"""MobileNetV2 at half width, as the distillation literature uses it on CIFAR.

Sources: Sandler et al. 2018, arXiv:1801.04381; the CIFAR variant of arXiv:1910.10699's code (RepDistiller),
whose tables call it "MobileNetV2": expansion 6, width 0.5, stem of stride 2.
"""

from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import conv, initialise, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import Site, family

# expansion, channels at full width, blocks, stride of the first
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STAGE_ENDS = (1, 2, 4, 6)  # groups whose outputs the literature distils
_EMBEDDING = 1280


class Inverted(nn.Module):
    """Widen, filter each channel, narrow; the narrow output is linear."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.conv1, self.bn1 = conv(inputs, wide, 1), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = conv(wide, wide, 3, stride, groups=wide), nn.BatchNorm2d(wide)
        self.conv3, self.bn3 = conv(wide, outputs, 1), nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's linear output."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return x + out if self.residual else out  # type: ignore[no-any-return]


class MobileNetV2(nn.Module):
    """Stem, four stages, a 1x1 convolution to the embedding, `linear`.

    Stages end in linear bottlenecks: no ReLU follows, so `features` and `preacts` of a stage are the same
    tensor.
    """

    def __init__(self, site: Site, width: float):
        super().__init__()
        inputs = int(32 * width)
        self.conv1, self.bn1 = conv(site.shape[0], inputs, 3, 2), nn.BatchNorm2d(inputs)
        self.groups = nn.ModuleList()
        for expansion, channels, blocks, stride in _GROUPS:
            group = nn.Sequential()
            for position in range(blocks):
                outputs = int(channels * width)
                group.append(Inverted(inputs, outputs, stride if position == 0 else 1, expansion))
                inputs = outputs
            self.groups.append(group)
        self.conv2, self.bn2 = conv(inputs, _EMBEDDING, 1), nn.BatchNorm2d(_EMBEDDING)
        self.linear = nn.Linear(_EMBEDDING, site.classes)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = functional.relu(self.bn1(self.conv1(images)))
        features = [x]
        for number, group in enumerate(self.groups):
            x = group(x)
            if number in _STAGE_ENDS:
                features.append(x)
        embedding = pooled(functional.relu(self.bn2(self.conv2(x))))
        return Outputs(self.linear(embedding), tuple(features), tuple(features[1:]), embedding)


@family("mobilenetv2", "mobilenetv2", examples=("mobilenetv2",), valid=lambda: True)
def mobilenet_v2(site: Site) -> nn.Module:
    """The half-width one."""
    return MobileNetV2(site, 0.5)
