"""What holds for every network: shapes, pre-activations, sizes, reproducible weights."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from kdbench import models

# One small member of every family; a new family without one fails test_every_family_is_here.
NETWORKS = {
    "mlp-<width>x<depth>": "mlp-17x3",
    "resnet<6n+2>": "resnet8",
    "resnet<6n+2>w<base>": "resnet14w4",
    "resnet<6n+2>x4": "resnet8x4",
    "resnet<18 | 34 | 50>": "resnet18",
    "wrn-<6n+4>-<k>": "wrn-10-2",
    "vgg<8 | 11 | 13 | 16 | 19>": "vgg8",
    "mobilenetv2": "mobilenetv2",
    "shufflenetv2": "shufflenetv2",
    "torchvision:<classifier>": "torchvision:resnet18",
}
# Stages that end without a ReLU: preacts are the features themselves.
LINEAR_STAGES = {"mobilenetv2"}
SHAPES = [(channels, side, side) for channels in (1, 3) for side in (8, 28, 32)]
CLASSES = 7


def test_every_family_is_here():
    assert set(NETWORKS) == set(models.forms())


@pytest.fixture(params=NETWORKS.values())
def name(request) -> str:
    return request.param


def images(shape: tuple[int, ...], count: int = 5) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_have_the_shapes_of_the_contract(name: str, shape: tuple[int, int, int]):
    model = models.build(name, shape=shape, classes=CLASSES, seed=0)
    assert model.training
    outputs = model(images(shape))
    known = models.network(model, name, shape, CLASSES)
    assert model.training
    assert outputs.logits.shape == (5, CLASSES)
    assert outputs.embedding.shape == (5, known.embedding)
    assert outputs.exits == ()
    assert len(outputs.features) == len(outputs.preacts) + 1 >= 2
    assert tuple(feature.shape[1:] for feature in outputs.features) == known.features
    assert tuple(preact.shape[1:] for preact in outputs.preacts) == known.preacts == known.features[1:]
    sides = [feature[1] for feature in known.features if len(feature) == 3]
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)], ids=str)
def test_the_relu_of_a_preactivation_is_the_feature(name: str, shape: tuple[int, int, int]):
    model = models.build(name, shape=shape, classes=CLASSES, seed=0)
    outputs = model(images(shape))
    for preact, feature in zip(outputs.preacts, outputs.features[1:], strict=True):
        if name in LINEAR_STAGES:
            assert torch.equal(preact, feature)
        else:
            assert torch.equal(preact.relu(), feature)
        assert (preact < 0).any()  # not overwritten by a ReLU in place


def test_the_last_layer_reads_the_embedding(name: str):
    model = models.build(name, shape=(3, 32, 32), classes=CLASSES, seed=0).eval()
    outputs = model(images((3, 32, 32)))
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert torch.allclose(last(outputs.embedding), outputs.logits, atol=1e-5)


def test_a_sample_is_classified_alone_as_in_a_batch(name: str):
    model = models.build(name, shape=(3, 32, 32), classes=CLASSES, seed=0)
    batch = images((3, 32, 32))
    model(batch)  # the norms have seen something
    model.eval()
    with torch.no_grad():
        together, alone = model(batch).logits, torch.cat([model(image[None]).logits for image in batch])
    assert torch.allclose(together, alone, atol=1e-4)


def test_every_parameter_gets_a_finite_gradient(name: str):
    model = models.build(name, shape=(3, 32, 32), classes=CLASSES, seed=0)
    outputs = model(images((3, 32, 32)))
    nn.functional.cross_entropy(outputs.logits, torch.arange(5)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(name: str):
    before = torch.get_rng_state()
    first, same, other = (
        models.build(name, shape=(1, 8, 8), classes=CLASSES, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    weights = [key for key in first if first[key].ndim >= 2]
    assert not any(torch.equal(first[key], other[key]) for key in weights)


FINGERPRINT = """
import hashlib
from kdbench import models
for name in {names}:
    state = models.build(name, shape=(1, 8, 8), classes=7, seed=11).state_dict()
    print(name, hashlib.sha256(b"".join(state[key].numpy().tobytes() for key in sorted(state))).hexdigest())
"""


def test_the_weights_are_the_same_in_another_process(capsys):
    code = FINGERPRINT.format(names=list(NETWORKS.values()))
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    exec(code, {})  # noqa: S102 - the same lines, in this process
    here = capsys.readouterr().out
    assert here == other.stdout
    assert len(here.splitlines()) == len(NETWORKS)


def test_weights_come_back_from_disk(name: str, tmp_path):
    model = models.build(name, shape=(3, 32, 32), classes=CLASSES, seed=0)
    model(images((3, 32, 32)))  # running statistics belong to the state
    path = models.save(model, tmp_path / "weights.safetensors")
    loaded = models.load(name, path, shape=(3, 32, 32), classes=CLASSES)
    state, again = model.state_dict(), loaded.state_dict()
    assert list(state) == list(again)
    assert all(torch.equal(state[key], again[key]) for key in state)
    assert not loaded.training
    model.eval()
    assert torch.equal(loaded(images((3, 32, 32))).logits, model(images((3, 32, 32))).logits)


def test_exits_attach_to_every_network(name: str):
    model = models.build(name, shape=(3, 32, 32), classes=CLASSES, seed=0)
    before = torch.get_rng_state()
    wrapped = models.MultiExit(model, (3, 32, 32), CLASSES, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    outputs = wrapped(images((3, 32, 32)))
    assert len(outputs.exits) == len(outputs.features) - 1
    for one in outputs.exits:
        assert one.logits.shape == (5, CLASSES)
        assert one.feature.shape == outputs.embedding.shape
    assert outputs.exits[-1].logits is outputs.logits
    sum(one.logits.square().sum() for one in outputs.exits).backward()
    assert all(parameter.grad is not None for parameter in wrapped.parameters())
