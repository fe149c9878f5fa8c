"""Exits after shallow stages."""

import torch

from kdbench import models
from kdbench.models.exits import Bottleneck


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_shallow_exits_reach_the_deepest_map_before_they_are_pooled():
    backbone = models.build("resnet8w4", shape=(3, 32, 32), classes=5, seed=0)
    model = models.MultiExit(backbone, (3, 32, 32), 5, seed=1)
    assert model.backbone is backbone
    deepest = model(images(2, 3, 32, 32)).features[-1]
    for feature, bottleneck in zip(
        model(images(2, 3, 32, 32)).features[1:-1], model.bottlenecks, strict=True
    ):
        assert isinstance(bottleneck, Bottleneck)
        assert bottleneck.layers(feature).shape == deepest.shape
        convolutions = [layer for layer in bottleneck.layers if isinstance(layer, torch.nn.Conv2d)]
        assert [layer.kernel_size[0] for layer in convolutions] == [1, 3, 1]


def test_an_exit_classifies_its_own_vector():
    model = models.MultiExit(
        models.build("mlp-6x3", shape=(1, 8, 8), classes=5, seed=0), (1, 8, 8), 5, seed=1
    ).eval()
    outputs = model(images(4, 1, 8, 8))
    assert len(outputs.exits) == 3
    for one, linear in zip(outputs.exits, [*model.linears, model.backbone.linear], strict=True):
        assert torch.allclose(one.logits, linear(one.feature), atol=1e-6)
    assert torch.equal(outputs.exits[-1].feature, outputs.embedding)


def test_exits_do_not_change_the_network():
    backbone = models.build("resnet8w4", shape=(3, 8, 8), classes=5, seed=0).eval()
    plain = backbone(images(2, 3, 8, 8))
    model = models.MultiExit(backbone, (3, 8, 8), 5, seed=1).eval()
    with_exits = model(images(2, 3, 8, 8))
    assert torch.equal(plain.logits, with_exits.logits)
    assert all(torch.equal(a, b) for a, b in zip(plain.features, with_exits.features, strict=True))


def test_the_seed_makes_the_exits():
    def exits(seed: int) -> dict[str, torch.Tensor]:
        backbone = models.build("resnet8w4", shape=(3, 8, 8), classes=5, seed=0)
        return models.MultiExit(backbone, (3, 8, 8), 5, seed).bottlenecks.state_dict()

    first, same, other = exits(1), exits(1), exits(2)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
