"""Sources of images: what each layout means, and how damage is answered."""

import io
import json
import pickle
import subprocess
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from kdbench import data
from kdbench.data.digits import Digits
from kdbench.data.images import Images, channel_statistics, content_hash
from kdbench.data.parquet import Parquet
from kdbench.data.spec import DatasetSpec
from kdbench.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def picture(shape: tuple[int, ...], seed: int = 0, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, kind)
    return encoded.getvalue()


def pixels_of(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def write_parquet(folder: Path, part: str, encoded: list, labels: list, metadata: dict | None = None) -> None:
    folder.mkdir(exist_ok=True)
    table = pa.table({"image": [{"bytes": data, "path": None} for data in encoded], "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), folder / f"{part}.parquet")


def own(folder: Path, source: str = "parquet", name: str = "own") -> DatasetSpec:
    return DatasetSpec(name, source, path=str(folder))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A parquet data set of three 5x4 colour images in training and two in test."""
    folder = tmp_path / "pictures"
    write_parquet(folder, "train", [picture((5, 4, 3), seed) for seed in range(3)], [1, 0, 1])
    write_parquet(folder, "test", [picture((5, 4, 3), seed) for seed in (8, 9)], [0, 1])
    return folder


def test_digits_are_scikit_learns_scaled_to_bytes():
    from sklearn.datasets import load_digits

    parts = [Digits(DatasetSpec("digits")).read(part) for part in ("train", "test")]
    ours = {
        (image.numpy().tobytes(), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    }
    pixels, labels = load_digits(return_X_y=True)
    theirs = {
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(pixels, labels, strict=True)
    }
    assert ours == theirs
    assert sum(map(len, parts)) == 1797
    assert int(max(part.images.max() for part in parts)) == 255


def test_parquet_pixels_are_channels_first(pictures: Path):
    train = data.load_training(own(pictures))
    assert train.labels.tolist() == [1, 0, 1]
    for seed in range(3):
        expected = pixels_of(picture((5, 4, 3), seed)).transpose(2, 0, 1)
        assert np.array_equal(train.images[seed].numpy(), expected)


def test_parquet_class_names_from_hugging_faces_metadata(pictures: Path):
    assert data.facts(own(pictures)).classes == ("0", "1")
    info = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    write_parquet(pictures, "train", [picture((5, 4, 3))] * 2, [0, 1], {"huggingface": json.dumps(info)})
    assert data.facts(own(pictures)).classes == ("cat", "dog")


def test_jpeg_is_told_from_the_bytes_or_the_name(pictures: Path):
    assert data.facts(own(pictures)).note == ""
    assert data.facts(own(pictures, name="own-jpeg")).note == "JPEG re-encoded"
    write_parquet(pictures, "train", [picture((5, 4, 3), kind="JPEG"), picture((5, 4, 3))], [0, 1])
    assert data.facts(own(pictures)).note == "JPEG re-encoded"


def test_greys_stay_grey_only_where_all_are(pictures: Path):
    grey, colour = picture((5, 4)), picture((5, 4, 3))
    write_parquet(pictures, "train", [grey, colour], [0, 1])
    write_parquet(pictures, "test", [grey], [0])
    assert data.facts(own(pictures)).shape == (3, 5, 4)
    assert data.load_test(own(pictures)).images.shape == (1, 3, 5, 4)
    write_parquet(pictures, "train", [grey, grey], [0, 1])
    assert data.facts(own(pictures)).shape == (1, 5, 4)
    write_parquet(pictures, "test", [colour], [0])
    with pytest.raises(UserError, match="in colour.*grey test images"):
        data.load_test(own(pictures))


@pytest.mark.parametrize(
    ("encoded", "labels", "message"),
    [
        ([picture((5, 4, 3)), picture((4, 5, 3))], [0, 1], "4x5 where the first image is 5x4.*one size"),
        ([picture((5, 4, 3)), b"no picture"], [0, 1], "train image 1 .*cannot be read as an image"),
        ([picture((5, 4, 3)), picture((5, 4, 3))[:-40]], [0, 1], "damaged"),
        ([picture((5, 4, 3)), None], [0, 1], "an image has no bytes"),
        ([picture((5, 4, 3))] * 2, [0, None], "a label is missing"),
        ([picture((5, 4, 3))] * 2, [0, -1], "whole number from 0"),
        ([picture((5, 4, 3))] * 2, ["a", "b"], "whole number from 0"),
        ([picture((5, 4, 3))] * 2, [0, 0], "at least two classes"),
    ],
)
def test_damaged_parquet_is_answered(pictures: Path, encoded, labels, message):
    write_parquet(pictures, "train", encoded, labels)
    write_parquet(pictures, "test", [picture((5, 4, 3), 5)], [0])
    with pytest.raises(UserError, match=message):
        data.facts(own(pictures))


def test_sixteen_bits_are_refused(tmp_path: Path):
    encoded = io.BytesIO()
    Image.fromarray(np.arange(20, dtype=np.uint16).reshape(5, 4) * 1000).save(encoded, "PNG")
    for part in ("train", "test"):
        write_parquet(tmp_path / "deep", part, [encoded.getvalue()] * 2, [0, 1])
    with pytest.raises(UserError, match="8 bits per channel"):
        data.facts(own(tmp_path / "deep"))


def test_files_that_are_no_image_parquet(tmp_path: Path):
    with pytest.raises(UserError, match=r"no train\*\.parquet"):
        data.facts(own(tmp_path / "nowhere"))
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "test.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"train\.parquet, which cannot be read"):
        data.facts(own(tmp_path))
    pq.write_table(pa.table({"pixels": [1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="columns image"):
        data.facts(own(tmp_path))


def test_splits_of_different_sizes_are_refused(pictures: Path):
    write_parquet(pictures, "test", [picture((6, 6, 3))], [0])
    with pytest.raises(UserError, match="one size in both splits"):
        data.facts(own(pictures))


def make_folder(root: Path) -> Path:
    for part, name, count in (
        ("train", "dog", 2),
        ("train", "cat", 3),
        ("test", "dog", 1),
        ("test", "cat", 1),
    ):
        (root / part / name).mkdir(parents=True)
        for number in range(count):
            (root / part / name / f"{number}.png").write_bytes(picture((5, 4), number + 10 * count))
    (root / "train" / "cat" / "readme.txt").write_text("no picture")
    return root


def test_folders_are_classes_in_alphabetical_order(tmp_path: Path):
    spec = own(make_folder(tmp_path / "f"), "folder")
    facts, train = data.facts(spec), data.load_training(spec)
    assert facts.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(train.images[0, 0].numpy(), pixels_of(picture((5, 4), 30)))
    (tmp_path / "f" / "test" / "cow").mkdir()
    with pytest.raises(UserError, match="without training images"):
        data.load_test(spec)


def test_a_folder_without_a_split_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no train/<class>"):
        data.facts(own(tmp_path, "folder"))


def test_tiny_imagenet_labels_follow_the_annotations(made_root: Path):
    spec = DatasetSpec("tiny-imagenet", root=str(made_root))
    facts, test = data.facts(spec), data.load_test(spec)
    assert facts.classes == ("n01", "n02", "n03", "n04")
    folder = made_root / "tiny-imagenet-200" / "val"
    for index, row in enumerate((folder / "val_annotations.txt").read_text().splitlines()):
        name, wnid = row.split("\t")[:2]
        assert facts.classes[test.labels[index]] == wnid
        expected = pixels_of((folder / "images" / name).read_bytes()).transpose(2, 0, 1)
        assert np.array_equal(test.images[index].numpy(), expected)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("val/val_annotations.txt", "val_0.JPEG n01\n", "line 1, which names no file and class"),
        ("val/val_annotations.txt", "val_0.JPEG\tn99\t0\n", "line 1"),
        ("val/val_annotations.txt", "../../secret.png\tn01\n", "line 1"),
        ("val/val_annotations.txt", "val_99.JPEG\tn01\n", "cannot be read as an image"),
        ("wnids.txt", "n01\nn07\n", "where there is no image"),
    ],
)
def test_a_damaged_tiny_imagenet(made_root: Path, name, text, message):
    (made_root / "tiny-imagenet-200" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        data.facts(DatasetSpec("tiny-imagenet", root=str(made_root)))


def test_imagenet32_labels_begin_at_zero_and_pixels_are_planes(made_root: Path):
    train = data.load_training(DatasetSpec("imagenet32", root=str(made_root)))
    first = pickle.loads((made_root / "imagenet32" / "train_data_batch_1").read_bytes())  # noqa: S301 - made here
    assert train.labels[:4].tolist() == [label - 1 for label in first["labels"]] == [0, 1, 2, 3]
    assert train.images[2, 1, 5, 7] == first["data"][2, 1024 + 5 * 32 + 7]


def test_imagenet32_reads_python_2_pickles(made_root: Path):
    """Byte strings of old pickles, as latin-1 text."""
    path = made_root / "imagenet32" / "val_data"
    before = data.load_test(DatasetSpec("imagenet32", root=str(made_root)))
    batch = pickle.loads(path.read_bytes())  # noqa: S301 - made here
    path.write_bytes(pickle.dumps(batch, protocol=0))
    after = data.load_test(DatasetSpec("imagenet32", root=str(made_root)))
    assert torch.equal(before.images, after.images)


class Malice:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.target)],)


class Codec:
    def __reduce__(self):
        import codecs

        return codecs.encode, ("uryyb", "rot13")


@pytest.mark.parametrize(
    "content",
    [
        lambda target: pickle.dumps({"data": Malice(target), "labels": [1]}),
        lambda target: pickle.dumps(Malice(target)),
        lambda target: pickle.dumps({"data": np.array([Malice(target)], dtype=object), "labels": [1]}),
        lambda target: pickle.dumps({"data": Codec(), "labels": [1]}),
        lambda target: b"cos\nsystem\n(S'touch " + str(target).encode() + b"'\ntR.",
        lambda target: b"",
        lambda target: b"no pickle",
        lambda target: pickle.dumps([1, 2]),
        lambda target: pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        lambda target: pickle.dumps({"data": np.zeros((1, 3072), np.float32), "labels": [1]}),
        lambda target: pickle.dumps({"data": np.zeros((1, 12288), np.uint8), "labels": [1]}),
        lambda target: pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}),
        lambda target: pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["x"]}),
    ],
)
def test_imagenet32_runs_nothing_and_refuses_all_else(made_root: Path, tmp_path: Path, content):
    target = tmp_path / "touched"
    (made_root / "imagenet32" / "train_data_batch_3").write_bytes(content(target))
    with pytest.raises(UserError, match="train_data_batch_3"):
        data.load_training(DatasetSpec("imagenet32", root=str(made_root)))
    assert not target.exists()


def test_a_missing_imagenet32_batch_is_missed(made_root: Path):
    (made_root / "imagenet32" / "train_data_batch_10").unlink()
    with pytest.raises(UserError, match=r"train_data_batch_1 to _10"):
        data.load_training(DatasetSpec("imagenet32", root=str(made_root)))


def test_svhn_digit_ten_is_zero(made_root: Path):
    train = data.load_training(DatasetSpec("svhn", root=str(made_root)))
    assert train.labels.tolist() == [number % 10 for number in range(40)]


@pytest.mark.parametrize("size", [0, 3, 10, 100])
def test_a_damaged_mnist_is_answered(made_root: Path, size: int):
    path = made_root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="missing or damaged"):
        data.facts(DatasetSpec("mnist", root=str(made_root)))


def test_a_pickle_that_is_no_cifar_is_not_opened(tmp_path: Path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("batches.meta", "test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        (folder / name).write_bytes(pickle.dumps(Malice(tmp_path / "touched")))
    with pytest.raises(UserError, match="missing or damaged"):
        data.facts(DatasetSpec("cifar10", root=str(tmp_path)))
    assert not (tmp_path / "touched").exists()


def test_downloading_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_args, **_options):
        raise URLError("no route to host")

    import torchvision

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", unreachable)
    spec = DatasetSpec("mnist", root=str(tmp_path / "root"), download=True)
    with pytest.raises(
        UserError, match="downloading 'mnist' to .*root failed: .*no route to host.*; allowed: a machine"
    ):
        data.facts(spec)
    with pytest.raises(UserError, match="download: true"):
        data.facts(DatasetSpec("mnist", root=str(tmp_path / "root")))


def test_measurements_are_kept_until_a_file_changes(
    pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    first = data.facts(own(pictures))
    assert len(list((home / "datasets").iterdir())) == 1
    reads: list[str] = []
    read = Parquet.read
    monkeypatch.setattr(Parquet, "read", lambda self, part: reads.append(part) or read(self, part))
    assert data.facts(own(pictures)) == first
    assert reads == []
    write_parquet(pictures, "test", [picture((5, 4, 3), 77)], [1])
    changed = data.facts(own(pictures))
    assert reads == ["train", "test"]
    assert changed.content_hash != first.content_hash


def test_a_damaged_note_is_measured_again(pictures: Path, home: Path):
    first = data.facts(own(pictures))
    note = next((home / "datasets").iterdir())
    for text in ("", "{}", "[1]", '{"classes": 3}'):
        note.write_text(text)
        assert data.facts(own(pictures)) == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(pictures: Path, home: Path):
    home.write_text("a file where the folder should be")
    assert data.facts(own(pictures)) == data.facts(own(pictures))


def test_given_statistics_replace_the_measured_ones(pictures: Path):
    spec = DatasetSpec("own", "parquet", path=str(pictures), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (data.facts(spec).mean, data.facts(spec).std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(UserError, match="one number per channel, here 3"):
        data.facts(DatasetSpec("own", "parquet", path=str(pictures), mean=(0.1,), std=(0.4,)))


def test_statistics_against_numpy():
    images = torch.randint(
        0, 256, (40, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images[:, 2] = 7
    mean, std = channel_statistics(images)
    pixels = images.double() / 255
    assert np.allclose(mean, pixels.mean((0, 2, 3)), atol=5e-5)
    assert np.allclose(std[:2], pixels.std((0, 2, 3), correction=0)[:2], atol=5e-5)
    assert std[2] == 1.0  # a constant channel


def test_the_hash_sees_pixels_labels_shape_and_splits():
    def images(pixels, labels, shape=(2, 1, 2, 2)):
        return Images(torch.tensor(pixels, dtype=torch.uint8).view(shape), torch.tensor(labels))

    one, two = images(range(8), [0, 1]), images(range(8, 16), [0, 1])
    others = [
        (two, one),
        (images([1, *range(1, 8)], [0, 1]), two),
        (images(range(8), [1, 0]), two),
        (images(range(8), [0, 1], (2, 1, 1, 4)), two),
    ]
    hashes = {content_hash(*pair) for pair in [(one, two), *others]}
    assert len(hashes) == 5
    assert content_hash(one, two) == content_hash(images(range(8), [0, 1]), two)
