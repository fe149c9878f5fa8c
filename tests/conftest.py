"""Small made copies of the built-in data sets, each in its real layout on disk."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples in every run; `pytest --hypothesis-profile default` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


@pytest.fixture
def made_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root that holds every built-in data set: 40 training and 20 test images of 4 classes or more."""
    import torchvision

    root = tmp_path / "data"
    generator = np.random.default_rng(7)
    make_mnist(root / "MNIST" / "raw", generator)
    make_mnist(root / "FashionMNIST" / "raw", generator)
    make_cifar(root, generator)
    make_svhn(root, generator)
    make_imagenet32(root / "imagenet32", generator)
    make_tiny_imagenet(root / "tiny-imagenet-200", generator)
    # The copies cannot have the checksums of the originals.
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: Path(path).exists())
    monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda path, md5: Path(path).exists())
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    return root


def make_labels(count: int, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


def make_mnist(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name, count in (("train", 40), ("t10k", 20)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (
            b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + make_labels(count).astype(np.uint8).tobytes()
        )
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)


def make_cifar(root: Path, generator: np.random.Generator) -> None:
    ten, hundred = root / "cifar-10-batches-py", root / "cifar-100-python"
    ten.mkdir(parents=True)
    hundred.mkdir()
    batches = [(ten / f"data_batch_{number}", 8, "labels") for number in range(1, 6)]
    batches += [(ten / "test_batch", 20, "labels")]
    batches += [(hundred / "train", 40, "fine_labels"), (hundred / "test", 20, "fine_labels")]
    for path, count, key in batches:
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        path.write_bytes(pickle.dumps({"data": data, key: make_labels(count, 4).tolist()}))
    names = [f"class {number}" for number in range(10)]
    (ten / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    (hundred / "meta").write_bytes(
        pickle.dumps({"fine_label_names": [f"fine {number}" for number in range(100)]})
    )


def make_svhn(root: Path, generator: np.random.Generator) -> None:
    from scipy.io import savemat

    for name, count in (("train", 40), ("test", 20)):
        images = generator.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = make_labels(count)[:, None].astype(np.uint8)
        labels[labels == 0] = 10  # how its authors write the digit 0
        savemat(root / f"{name}_32x32.mat", {"X": images, "y": labels})


def make_imagenet32(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name, count in [*((f"train_data_batch_{number}", 4) for number in range(1, 11)), ("val_data", 20)]:
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        batch = {"data": data, "labels": (1 + make_labels(count, 4)).tolist(), "mean": data.mean(0)}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2 if name == "val_data" else 4))


def make_tiny_imagenet(folder: Path, generator: np.random.Generator) -> None:
    wnids = ["n02", "n01", "n04", "n03"]
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    for wnid in wnids:
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for number in range(10):
            path = folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            save_picture(path, generator, grey=number == 3)  # the original has some grey ones too
    rows = []
    for number in range(20):
        save_picture(images / f"val_{number}.JPEG", generator)
        rows.append(f"val_{number}.JPEG\t{wnids[number % 4]}\t0\t0\t63\t63")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")


def save_picture(path: Path, generator: np.random.Generator, *, grey: bool = False) -> None:
    pixels = generator.integers(0, 256, (64, 64) if grey else (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
