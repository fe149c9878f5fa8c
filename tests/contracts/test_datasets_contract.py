"""What holds for every data set: the built-in ones, from copies in their real layout, and a user's own."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from kdbench import data
from kdbench.data.spec import DatasetSpec
from kdbench.errors import UserError
from kdbench.training.job import Split

OWN = ("parquet", "folder")
EXPECTED = {  # shape, classes, what augment: auto means
    "digits": ((1, 8, 8), 10, "shift"),
    "mnist": ((1, 28, 28), 10, "shift"),
    "fashion-mnist": ((1, 28, 28), 10, "shift"),
    "cifar10": ((3, 32, 32), 10, "crop-flip"),
    "cifar100": ((3, 32, 32), 100, "crop-flip"),
    "svhn": ((3, 32, 32), 10, "crop"),
    "imagenet32": ((3, 32, 32), 4, "crop-flip"),
    "tiny-imagenet": ((3, 64, 64), 4, "crop-flip"),
    "parquet": ((3, 12, 10), 3, "crop-flip"),
    "folder": ((1, 12, 10), 3, "crop-flip"),
}


def test_every_dataset_is_here():
    assert set(EXPECTED) == {*data.names(), *OWN}


@pytest.fixture(params=EXPECTED)
def spec(request, made_root: Path, tmp_path: Path) -> DatasetSpec:
    name = request.param
    if name == "parquet":
        return data.parse({"parquet": str(_parquet(tmp_path / "own")), "name": "own"}, tmp_path)
    if name == "folder":
        return data.parse({"folder": str(_folder(tmp_path / "own")), "name": "own"}, tmp_path)
    return data.parse({"name": name, "root": str(made_root)}, tmp_path)


def _picture(number: int, *, grey: bool) -> Image.Image:
    shape = (12, 10) if grey else (12, 10, 3)
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8))


def _folder(folder: Path) -> Path:
    for number in range(60):
        part = "train" if number < 40 else "test"
        path = folder / part / f"class-{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(number, grey=True).save(path)
    return folder


def _parquet(folder: Path) -> Path:
    folder.mkdir()
    for part, numbers in (("train-0", range(20)), ("train-1", range(20, 40)), ("test", range(40, 60))):
        rows = []
        for number in numbers:
            encoded = io.BytesIO()
            _picture(number, grey=False).save(encoded, "PNG")
            rows.append({"bytes": encoded.getvalue(), "path": f"{number}.png"})
        table = pa.table({"image": rows, "label": [number % 3 for number in numbers]})
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def _expected(request) -> tuple[tuple[int, int, int], int, str]:
    return EXPECTED[request.node.callspec.params["spec"]]


def test_facts_describe_the_images(spec: DatasetSpec, request):
    shape, classes, augment = _expected(request)
    facts, train, test = data.facts(spec), data.load_training(spec), data.load_test(spec)
    assert facts.shape == shape == train.images.shape[1:] == test.images.shape[1:]
    assert len(facts.classes) == len(set(facts.classes)) == classes
    assert (facts.train_size, facts.test_size) == (len(train), len(test))
    assert len(facts.mean) == len(facts.std) == shape[0]
    assert facts.augment == augment
    assert facts.shift >= 1
    assert len(facts.content_hash) == 64
    for images in (train, test):
        assert images.images.dtype == torch.uint8
        assert images.labels.dtype == torch.int64
        assert images.images.is_contiguous()
        assert 0 <= images.labels.min() and images.labels.max() < classes
        assert images.images.float().std() > 10  # not one colour, not 0 to 1


def test_the_training_split_is_no_test_split(spec: DatasetSpec):
    train = {image.numpy().tobytes() for image in data.load_training(spec).images}
    test = {image.numpy().tobytes() for image in data.load_test(spec).images}
    assert not train & test


def test_asking_again_gives_the_same(spec: DatasetSpec):
    first = data.facts(spec)
    assert data.facts(spec) == first
    again = data.load_training(spec)
    assert torch.equal(again.images, data.load_training(spec).images)


def test_normalised_training_images_lie_in_the_pixel_range(spec: DatasetSpec):
    facts, images = data.facts(spec), data.load_training(spec).images
    normalised = data.normalise(images, facts.mean, facts.std)
    low, high = data.pixel_range(facts.mean, facts.std)
    assert normalised.dtype == torch.float32
    assert (normalised >= low - 1e-5).all() and (normalised <= high + 1e-5).all()
    assert torch.isclose(normalised.max(), high.max(), atol=0.05)


def test_make_training_gives_disjoint_parts_of_the_training_split(spec: DatasetSpec):
    facts = data.facts(spec)
    share = 0.5
    made = data.make_training(spec, facts, Split(validation=share, seed=3), "cpu")
    assert len(made.train) == made.full_size
    assert len(made.train) + len(made.validation) == facts.train_size
    assert made.facts == facts
    present = data.load_training(spec).labels.unique()
    assert torch.equal(made.train.labels.unique(), present)
    assert torch.equal(made.validation.labels.unique(), present)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("digits", *OWN)])
def test_a_missing_set_names_the_three_places(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"dataset\.root.*\$KDBENCH_DATA.*~/\.cache/kdbench") as caught:
        data.facts(data.parse(name, tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_the_embedded_set_is_the_same_for_ever():
    facts = data.facts(DatasetSpec("digits"))
    assert (facts.train_size, facts.test_size, facts.validation) == (1438, 359, 0.2)
    assert facts.content_hash == "495099477a7a6a83cf97b691fe22956ac027bbd7ba1b6426ee391675507b60ee"
    labels = data.load_test(DatasetSpec("digits")).labels
    assert torch.bincount(labels).min() >= 34  # stratified


def test_splits_are_the_same_in_another_process():
    code = (
        "from kdbench import data; from kdbench.training.job import Split;"
        "from kdbench.data.spec import DatasetSpec;"
        "labels = data.load_training(DatasetSpec('digits')).labels;"
        "print(data.split(labels, Split(0.2, 5, 0.4)).train.tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    labels = data.load_training(DatasetSpec("digits")).labels
    assert str(data.split(labels, Split(0.2, 5, 0.4)).train.tolist()) == other.stdout.strip()


@pytest.mark.skipif("KDBENCH_DATA" not in os.environ, reason="KDBENCH_DATA is not set: no real data")
@pytest.mark.parametrize(
    ("value", "size", "note"),
    [
        ("mnist", (60000, 10000), ""),
        ({"parquet": "cifar10_lossless_10pct", "name": "cifar10-lossless-tenth"}, (5085, 1017), ""),
        ({"parquet": "cifar10", "name": "cifar10-again"}, (50000, 10000), "JPEG re-encoded"),
    ],
    ids=["mnist", "cifar10-lossless-tenth", "cifar10-jpeg"],
)
def test_real_data(value, size, note, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path))
    facts = data.facts(data.parse(value, Path(os.environ["KDBENCH_DATA"])))
    assert (facts.train_size, facts.test_size) == size
    assert facts.note == note
