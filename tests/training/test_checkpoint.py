import logging
import os
from pathlib import Path

import pytest
import torch

from kdbench.training import checkpoint

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3), "empty": torch.zeros(0)}
STATE = {"epoch": 3, "history": [{"metrics": {"val/loss": 0.1}}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "student.safetensors"
    checkpoint.save(path, TENSORS, STATE, owner="me")
    return path


def test_what_is_saved_is_loaded(file: Path) -> None:
    found = checkpoint.load(file, "me")
    assert found is not None
    tensors, state = found
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert list(file.parent.iterdir()) == [file], "no temporary file is left"


def test_no_file_is_no_checkpoint_and_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert checkpoint.load(tmp_path / "none.safetensors", "me") is None
    assert not caplog.records


def _torn(data: bytes) -> bytes:
    return data[:-5]


def _flipped_tensor(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def _flipped_state(data: bytes) -> bytes:
    return data.replace(b'epoch\\": 3', b'epoch\\": 4')


def _pickle(data: bytes) -> bytes:
    import pickle

    return pickle.dumps({"w": 1})


@pytest.mark.parametrize(
    "damage", [_torn, _flipped_tensor, _flipped_state, _pickle, lambda data: b"", lambda data: b"\xff" * 99]
)
def test_a_damaged_one_is_ignored_with_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    before = file.read_bytes()
    file.write_bytes(damage(before))  # type: ignore[operator]
    assert file.read_bytes() != before
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(file, "me") is None
    assert str(file) in caplog.text


def test_another_trainings_is_ignored(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert checkpoint.load(file, "somebody else") is None
    assert "belongs to another training" in caplog.text


def test_a_failed_write_leaves_the_old_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(file, TENSORS, {"epoch": 4}, owner="me")
    found = checkpoint.load(file, "me")
    assert found is not None
    assert found[1] == STATE
    assert list(file.parent.iterdir()) == [file]
