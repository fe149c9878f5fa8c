"""Weights on disk: what is read, what is refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdbench import data, models
from kdbench.errors import UserError

SHAPE = (3, 8, 8)


def small(name: str = "resnet8w4", seed: int = 0) -> torch.nn.Module:
    return models.build(name, shape=SHAPE, classes=4, seed=seed)


def load(path: Path, name: str = "resnet8w4") -> torch.nn.Module:
    return models.load(name, path, shape=SHAPE, classes=4)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_saving_replaces_and_leaves_nothing_behind(tmp_path: Path):
    path = tmp_path / "new" / "w.safetensors"
    models.save(small(seed=1), path)
    models.save(small(seed=2), path)
    assert same(load(path), small(seed=2))
    assert os.listdir(path.parent) == ["w.safetensors"]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path):
    path = models.save(small(seed=1), tmp_path / "w.safetensors")
    broken = small(seed=2)
    broken.register_buffer("sparse", torch.eye(3).to_sparse())
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        models.save(broken, path)
    assert same(load(path), small(seed=1))
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: f"module.{key}",
        lambda key: key.replace("linear.", "fc."),
        lambda key: "module." + key.replace("linear.", "fc."),
    ],
)
def test_other_spellings_of_the_same_layout(tmp_path: Path, rename):
    state = {rename(key): value for key, value in small(seed=3).state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    assert same(load(tmp_path / "w.safetensors"), small(seed=3))


def test_torchvisions_own_keys(tmp_path: Path):
    import torchvision

    original = torchvision.models.mobilenet_v3_small(weights=None, num_classes=4)
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    loaded = models.load(
        "torchvision:mobilenet_v3_small", tmp_path / "w.safetensors", shape=(3, 32, 32), classes=4
    )
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loaded(x).logits, original.eval()(x), atol=1e-5)


def test_another_network_is_refused(tmp_path: Path):
    path = models.save(small("resnet14w4"), tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"0 tensors missing, \d+ unknown, such as 'layer1.1.*resnet8w4 for 4 classes"
    ):
        load(path)
    with pytest.raises(UserError, match="tensors missing"):
        load(models.save(small("resnet8w4"), path), "resnet20w4")
    with pytest.raises(
        UserError, match=r"'conv1.weight' has the shape \(4, 3, 3, 3\) instead of \(8, 3, 3, 3\)"
    ):
        load(path, "resnet8w8")
    with pytest.raises(UserError, match="10 classes"):
        models.load("resnet8w4", path, shape=SHAPE, classes=10)


def test_what_could_run_code_is_refused_by_name_and_by_content(tmp_path: Path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    for name in ("w.pt", "w.pth", "w.pkl", "w.ckpt", "w.bin", "w.safetensors"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Malice()))
        with pytest.raises(UserError, match="can execute code"):
            load(path)
    torch.save(small().state_dict(), tmp_path / "zip.safetensors")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load(tmp_path / "zip.safetensors")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [None, b"", b"\0" * 8, b"not safetensors at all"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.mistakes[0].key == "weights"
    assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="no file"):
        load(tmp_path)


@pytest.mark.skipif("KDBENCH_DATA" not in os.environ, reason="KDBENCH_DATA is not set: no published weights")
def test_the_published_teacher_is_as_good_as_published():
    root = Path(os.environ["KDBENCH_DATA"])
    path = root / "weights" / "resnet26_cifar10.safetensors"
    teacher = models.load("resnet26", path, shape=(3, 32, 32), classes=10)
    assert set(load_file(path)) == set(teacher.state_dict())
    spec = data.parse({"parquet": str(root / "cifar10_lossless_10pct"), "name": "lossless"}, root)
    test = data.load_test(spec)
    images = data.normalise(test.images, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    with torch.no_grad():
        right = int((teacher(images).logits.argmax(1) == test.labels).sum())
    assert (right, len(test)) == (946, 1017)
