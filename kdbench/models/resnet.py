"""Residual networks for small images.

Sources: He et al. 2015, arXiv:1512.03385, section 4.2 (`resnet<6n+2>`: three stages of 16/32/64 channels,
shortcuts of option A: every second pixel, missing channels zero, as in the authors' code of
arXiv:1805.05532); the code of arXiv:1910.10699, RepDistiller (`resnet8x4`, `resnet32x4`: stem 32, stages
64/128/256, 1x1 convolutions as shortcuts); `resnet18/34/50`: section 4.1 with a 3x3 stem and no pooling, as
usual on CIFAR.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import conv, initialise, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import NUMBER, Site, family


class ZeroPad(nn.Module):
    """Shortcut without parameters: every `stride`-th pixel; new channels are zero and come last."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class Projection(nn.Sequential):
    """Shortcut by a 1x1 convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


Shortcut = type[ZeroPad] | type[Projection]


class Basic(nn.Module):
    """Two 3x3 convolutions; gives the sum before its ReLU."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width), nn.BatchNorm2d(width)
        same = stride == 1 and inputs == width
        self.downsample = nn.Identity() if same else shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's pre-activation."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return out + self.downsample(x)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the width; gives the sum before its ReLU."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut):
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's pre-activation."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out + self.downsample(x)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Stem, stages `layer1`, `layer2`, … (each but the first halves the map), mean over the map, `linear`."""

    def __init__(
        self,
        site: Site,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        block: type[Basic] | type[Bottleneck] = Basic,
        shortcut: Shortcut = Projection,
    ):
        super().__init__()
        self.conv1, self.bn1 = conv(site.shape[0], stem), nn.BatchNorm2d(stem)
        inputs = stem
        self.stages = len(widths)
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
            layer = nn.ModuleList()
            for position in range(count):
                stride = 2 if number > 1 and position == 0 else 1
                layer.append(block(inputs, width, stride, shortcut))
                inputs = width * block.expansion
            self.add_module(f"layer{number}", layer)
        self.linear = nn.Linear(inputs, site.classes)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = functional.relu(self.bn1(self.conv1(images)))
        features, preacts = [x], []
        for number in range(1, self.stages + 1):
            for block in self.get_submodule(f"layer{number}").children():
                preact = block(x)
                x = functional.relu(preact)
            features.append(x)
            preacts.append(preact)
        embedding = pooled(x)
        return Outputs(self.linear(embedding), tuple(features), tuple(preacts), embedding)


def _is_cifar_depth(depth: int) -> bool:
    return 8 <= depth <= 1202 and depth % 6 == 2


@family(
    "resnet<6n+2>",
    f"resnet{NUMBER}",
    examples=("resnet8", "resnet14", "resnet20", "resnet26", "resnet32", "resnet44", "resnet56", "resnet110"),
    valid=lambda depth: _is_cifar_depth(depth) and depth not in _DEEP,
)
def cifar_resnet(site: Site, depth: int) -> nn.Module:
    """The CIFAR ResNet of 16/32/64 channels; the one of depth 50 is `resnet50w16`."""
    return based_resnet(site, depth, 16)


@family(
    "resnet<6n+2>w<base>",
    f"resnet{NUMBER}w{NUMBER}",
    examples=("resnet8w4", "resnet14w8"),
    valid=lambda depth, base: _is_cifar_depth(depth) and 1 <= base <= 4096,
)
def based_resnet(site: Site, depth: int, base: int) -> nn.Module:
    """The CIFAR ResNet of base/2·base/4·base channels."""
    blocks = (depth - 2) // 6
    return ResNet(site, base, (base, 2 * base, 4 * base), (blocks,) * 3, shortcut=ZeroPad)


@family(
    "resnet<6n+2>x4",
    f"resnet{NUMBER}x4",
    examples=("resnet8x4", "resnet32x4"),
    valid=_is_cifar_depth,
)
def wide_stem_resnet(site: Site, depth: int) -> nn.Module:
    """RepDistiller's ResNets of 64/128/256 channels."""
    blocks = (depth - 2) // 6
    return ResNet(site, 32, (64, 128, 256), (blocks,) * 3)


_DEEP: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, ...]]] = {
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


@family(
    "resnet<18 | 34 | 50>",
    f"resnet{NUMBER}",
    examples=("resnet18", "resnet34", "resnet50"),
    valid=lambda depth: depth in _DEEP,
)
def deep_resnet(site: Site, depth: int) -> nn.Module:
    """The ImageNet ResNet of 64/128/256/512 channels behind a 3x3 stem."""
    block, blocks = _DEEP[depth]
    return ResNet(site, 64, (64, 128, 256, 512), blocks, block)
