"""VGG networks with batch normalisation for small images.

Sources: Simonyan, Zisserman 2014, arXiv:1409.1556; the CIFAR variants of arXiv:1910.10699's code
(RepDistiller): one linear layer, the fourth pooling only for images of 64 pixels and more.
"""

from torch import Tensor, nn
from torch.nn import functional

from kdbench.models.layers import initialise, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import NUMBER, Site, family

_LAYERS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_WIDTHS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """Five blocks of 3x3 convolutions, pooled between them; the first block is the stem."""

    def __init__(self, site: Site, layers: tuple[int, ...]):
        super().__init__()
        inputs = site.shape[0]
        for number, (count, width) in enumerate(zip(layers, _WIDTHS, strict=True)):
            parts: list[nn.Module] = []
            for _ in range(count):
                parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            self.add_module(
                f"block{number}", nn.Sequential(*parts[:-1])
            )  # the last ReLU is applied in forward
        self.linear = nn.Linear(inputs, site.classes)
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        x = images
        features, preacts = [], []
        for number in range(5):
            pooling = number in (1, 2, 3) or (number == 4 and min(images.shape[-2:]) >= 64)
            if pooling and min(x.shape[-2:]) > 1:  # a small image's map is one pixel before the last block
                x = functional.max_pool2d(x, 2)
            preacts.append(self.get_submodule(f"block{number}")(x))
            x = functional.relu(preacts[-1])
            features.append(x)
        embedding = pooled(x)
        return Outputs(self.linear(embedding), tuple(features), tuple(preacts[1:]), embedding)


@family(
    "vgg<8 | 11 | 13 | 16 | 19>",
    f"vgg{NUMBER}",
    examples=tuple(f"vgg{depth}" for depth in _LAYERS),
    valid=lambda depth: depth in _LAYERS,
)
def vgg(site: Site, depth: int) -> nn.Module:
    """VGG of `depth` layers."""
    return Vgg(site, _LAYERS[depth])
