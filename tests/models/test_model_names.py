"""Names of networks: which are known, what is nearest to those that are not, how large they are."""

import pytest

from kdbench import models
from kdbench.errors import UserError
from kdbench.models import registry


@pytest.mark.parametrize("name", models.names())
def test_every_example_is_known_to_one_family(name: str):
    assert models.check(name) is None
    assert sum(family.numbers(name) is not None for family in registry._families) == 1


@pytest.mark.parametrize(
    "name",
    ["resnet1202", "resnet50w16", "resnet20w7", "resnet14x4", "mlp-1x1", "wrn-10-1", "torchvision:vit_b_16"],
)
def test_more_names_are_known_than_examples(name: str):
    assert models.check(name) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet9", "resnet8"),
        ("resnet2", "resnet26"),
        ("resnet8w0", "resnet8w4"),
        ("resnet8w99999", "resnet8w4"),
        ("resnet9x4", "resnet8x4"),
        ("ResNet20", "resnet20"),
        ("wrn-16-0", "wrn-16-2"),
        ("wrn-17-2", "wrn-16-2"),
        ("vgg-16", "vgg16"),
        ("mobilenet-v2", "mobilenetv2"),
        ("mlp-800", "mlp-800x2"),
        ("mlp-0x2", "mlp-800x2"),
        ("mlp-800x0", "mlp-800x2"),
        ("mlp-800x99", "mlp-800x2"),
        ("mlp-0800x2", "mlp-800x2"),
        ("mlp-" + "9" * 5000 + "x2", ""),
        ("torchvision:resnet19", "torchvision:resnet18"),
        ("torchvision:vit_b_61", "torchvision:vit_b_16"),
        ("../resnet8", "resnet8"),
        ("resnet8\n", "resnet8"),
        ("resnet٨", "resnet8"),  # another script's eight
        ("resnet08", "resnet8"),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_gets_the_nearest_known_one(name: str, nearest: str):
    found = models.check(name)
    assert found is not None
    assert (found.key, found.given, found.nearest) == ("model", repr(name), nearest)
    assert "resnet<6n+2>" in found.allowed
    with pytest.raises(UserError) as caught:
        models.build(name, shape=(3, 32, 32), classes=10, seed=0)
    assert caught.value.mistakes == (found,)


def test_a_form_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="registered already"):
        registry.family("mobilenetv2", "other", examples=(), valid=lambda: True)(lambda site: None)


# As published: with the code of arXiv:1805.05532 for CIFAR-10 (75 k, 173 k, 270 k, 0.37 M), with that of
# arXiv:1910.10699 for CIFAR-100, with torchvision for ImageNet.
PARAMETERS = [
    ("resnet8", 10, 75_290),
    ("resnet14", 10, 172_506),
    ("resnet20", 10, 269_722),
    ("resnet26", 10, 366_938),
    ("resnet8w4", 10, 5_006),
    ("resnet8x4", 100, 1_233_540),
    ("resnet32x4", 100, 7_433_860),
    ("wrn-16-2", 100, 703_284),
    ("wrn-40-1", 100, 569_780),
    ("wrn-40-2", 100, 2_255_156),
    ("vgg8", 100, 3_965_028),
    ("vgg13", 100, 9_462_180),
    ("mobilenetv2", 100, 812_836),
    ("shufflenetv2", 100, 1_355_528),
    ("resnet18", 100, 11_220_132),
    ("resnet50", 100, 23_705_252),
    ("torchvision:resnet18", 1000, 11_689_512),
    ("torchvision:vgg11", 1000, 132_863_336),
]


@pytest.mark.parametrize(("name", "classes", "parameters"), PARAMETERS)
def test_the_number_of_parameters(name: str, classes: int, parameters: int):
    model = models.build(name, shape=(3, 32, 32), classes=classes, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_mlps_of_the_first_paper():
    model = models.build("mlp-1200x2", shape=(1, 28, 28), classes=10, seed=0)
    assert (
        sum(parameter.numel() for parameter in model.parameters()) == 784 * 1200 + 1200 + 1200 * 1201 + 12010
    )
