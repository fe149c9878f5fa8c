"""Particulars of single networks, dropout and renormalisation."""

import copy

import pytest
import torch
from torch import nn

from kdbench import data, models
from kdbench.errors import UserError
from kdbench.models.layers import Dropout
from kdbench.models.resnet import ZeroPad


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_zero_pad_shortcut_by_hand():
    x = images(2, 3, 5, 4)
    out = ZeroPad(3, 7, 2)(x)
    assert out.shape == (2, 7, 3, 2)
    assert torch.equal(out[:, :3], x[:, :, [0, 2, 4]][:, :, :, [0, 2]])
    assert (out[:, 3:] == 0).all()


def test_a_wide_resnet_shows_the_norm_after_each_stage():
    model = models.build("wrn-10-1", shape=(3, 16, 16), classes=4, seed=0).eval()
    x = images(2, 3, 16, 16)
    outputs = model(x)
    stem = model.conv1(x)
    first = model.layer1[0]
    assert torch.allclose(outputs.features[0], first.bn1(stem).relu())
    after_first = first(stem, outputs.features[0])
    assert torch.allclose(outputs.preacts[0], model.layer2[0].bn1(after_first))
    assert torch.allclose(
        outputs.embedding, model.bn1(_last_sum(model, after_first)).relu().mean((2, 3)), atol=1e-5
    )


def _last_sum(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    for layer in (model.layer2, model.layer3):
        x = layer[0](x, layer[0].bn1(x).relu())
    return x


def test_the_norms_of_a_wide_resnet_see_each_batch_once():
    model = models.build("wrn-10-1", shape=(3, 16, 16), classes=4, seed=0)
    model(images(2, 3, 16, 16))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


@pytest.mark.parametrize(("side", "last"), [(8, 1), (28, 3), (32, 4), (64, 4)])
def test_vgg_pools_down_to_one_pixel_at_most(side: int, last: int):
    model = models.build("vgg8", shape=(1, side, side), classes=4, seed=0)
    assert models.network(model, "vgg8", (1, side, side), 4).features[-1] == (512, last, last)


@pytest.mark.parametrize("name", ["mlp-5x2", "resnet8", "wrn-10-1", "vgg8", "mobilenetv2", "shufflenetv2"])
def test_images_need_not_be_square(name: str):
    model = models.build(name, shape=(2, 12, 20), classes=4, seed=0)
    assert model(images(3, 2, 12, 20)).logits.shape == (3, 4)


# Dropout


def dropping() -> nn.Module:
    return models.build("mlp-400x1", shape=(1, 8, 8), classes=4, seed=0, dropout=0.25)


def test_dropout_needs_a_generator_in_training_only():
    model = dropping()
    with pytest.raises(RuntimeError, match="use_generator"):
        model(images(2, 1, 8, 8))
    outputs = model.eval()(images(2, 1, 8, 8))
    assert torch.equal(outputs.embedding, outputs.features[-1])


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = Dropout(0.25)
    layer.generator = torch.Generator().manual_seed(0)
    out = layer(torch.ones(400, 500))
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((out == 0).double().mean()) == pytest.approx(0.25, abs=0.005)  # five standard deviations


def test_dropout_follows_its_generator_and_no_other():
    model, x = dropping(), images(2, 1, 8, 8)
    models.use_generator(model, torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    first, second = model(x).embedding, model(x).embedding
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    models.use_generator(model, torch.Generator().manual_seed(5))
    assert torch.equal(model(x).embedding, first)


def test_features_are_shown_before_dropout():
    model = dropping()
    models.use_generator(model, torch.Generator().manual_seed(5))
    outputs = model(images(2, 1, 8, 8))
    assert torch.equal(outputs.preacts[0].relu(), outputs.features[1])
    assert ((outputs.embedding == 0) & (outputs.features[1] > 0)).any()


def test_dropout_has_no_weights():
    plain = models.build("wrn-10-1", shape=(3, 8, 8), classes=4, seed=0)
    dropped = models.build("wrn-10-1", shape=(3, 8, 8), classes=4, seed=0, dropout=0.3)
    first, second = plain.state_dict(), dropped.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first | second)


# Renormalised


def test_renormalised_shows_the_inner_network_its_own_images():
    pixels = torch.randint(
        0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    outer, inner = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.1, 0.2, 0.6), (0.5, 0.6, 0.9))
    model = models.build("resnet8", shape=(3, 8, 8), classes=4, seed=0).eval()
    wrapped = models.Renormalised(model, *outer, *inner).eval()
    expected = model(data.normalise(pixels, *inner)).logits
    assert torch.allclose(wrapped(data.normalise(pixels, *outer)).logits, expected, atol=1e-4)
    assert set(wrapped.state_dict()) == {f"model.{key}" for key in model.state_dict()}


# torchvision


def test_a_traced_network_computes_what_the_original_does():
    import torchvision

    model = models.build("torchvision:resnet18", shape=(3, 64, 64), classes=5, seed=0).eval()
    original = torchvision.models.resnet18(weights=None, num_classes=5).eval()
    original.load_state_dict({key.removeprefix("extractor."): v for key, v in model.state_dict().items()})
    x = images(2, 3, 64, 64)
    outputs = model(x)
    assert torch.allclose(outputs.logits, original(x), atol=1e-5)
    through = original.maxpool(original.relu(original.bn1(original.conv1(x))))
    for number, layer in enumerate((original.layer1, original.layer2, original.layer3, original.layer4), 1):
        through = layer(through)
        assert torch.allclose(outputs.features[number], through, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "features", "embedding"),
    [
        ("shufflenet_v2_x0_5", 4, 1024),  # shuffles through 5 axes, splits into tuples
        ("swin_t", 4, 768),  # channels last
        ("vit_b_32", 5, 768),  # tokens
        ("squeezenet1_1", 4, 512),  # no linear layer
        ("densenet121", 5, 1024),
        ("efficientnet_b0", 5, 1280),  # stochastic depth
    ],
)
def test_torchvision_families_show_maps(name: str, features: int, embedding: int):
    model = models.build(f"torchvision:{name}", shape=(1, 32, 32), classes=5, seed=0, dropout=0.5)
    models.use_generator(model, torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    outputs = model(images(2, 1, 32, 32))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(outputs.features) == features
    assert all(feature.ndim == 4 for feature in outputs.features)
    assert outputs.embedding.shape == (2, embedding)
    assert outputs.logits.shape == (2, 5)


@pytest.mark.parametrize("name", ["alexnet", "vit_b_16", "maxvit_t", "inception_v3"])
def test_images_too_small_for_a_torchvision_network_are_refused(name: str):
    with pytest.raises(UserError, match=f"torchvision:{name}', which cannot take images of 3x8x8"):
        models.build(f"torchvision:{name}", shape=(3, 8, 8), classes=5, seed=0)


@pytest.mark.parametrize("name", ["resnet8", "mlp-5x2", "torchvision:mobilenet_v3_small"])
def test_networks_can_be_copied(name: str):
    model = models.build(name, shape=(3, 32, 32), classes=5, seed=0, dropout=0.2)
    models.use_generator(model, torch.Generator().manual_seed(0))
    twin = copy.deepcopy(model)
    x = images(2, 3, 32, 32)
    assert torch.equal(model.eval()(x).logits, twin.eval()(x).logits)


def test_network_leaves_the_norms_and_the_mode_alone():
    model = models.build("resnet8", shape=(3, 8, 8), classes=4, seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        known = models.network(model, "resnet8", (3, 8, 8), 4)
        assert model.training is training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert (known.name, known.classes, known.embedding) == ("resnet8", 4, 64)
    assert known.features == ((16, 8, 8), (16, 8, 8), (32, 4, 4), (64, 2, 2))
