"""The run record: written in one step, read back as it was, refused where it is something else."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kdbench import records
from kdbench.records import Epoch, Record

RECORD = Record(
    key="ab" * 32,
    kind="trial",
    state="pruned",
    method="bss",
    hyperparameters={"alpha": 3.0, "max_steps": 10, "kind": "a"},
    seed=17,
    study="cd" * 32,
    number=4,
    sampled={"alpha": 3.0},
    history=(Epoch(1, "distil", 0.0, {"val/accuracy": 0.25}), Epoch(2, "distil", 1.0, {"val/accuracy": 0.5})),
    rungs={"1": 0.5},
    job={"model": "resnet8", "recipe": {"lr": 0.05}},
)


def test_a_record_comes_back_as_it_was(tmp_path):
    path = records.write(RECORD, tmp_path / "results")
    assert path.name == f"{RECORD.key}.json"
    assert records.read(path) == RECORD


def test_a_record_that_ends_replaces_the_one_that_runs(tmp_path):
    records.write(dataclasses.replace(RECORD, state="running", history=()), tmp_path)
    records.write(RECORD, tmp_path)
    assert list(records.read_all(tmp_path)) == [RECORD]


def test_all_records_come_in_the_order_of_their_keys(tmp_path):
    for letter in "cab":
        records.write(dataclasses.replace(RECORD, key=letter * 64), tmp_path)
    assert [record.key[0] for record in records.read_all(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 0}', '{"version": 99, "key": "x"}'])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        records.read(path)


def test_a_reader_never_sees_a_part(tmp_path):
    texts = ["a" * 200_000, "b" * 300_000]
    path = tmp_path / "file"
    records.write_atomically(path, texts[0])
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            records.write_atomically(path, texts[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)
    assert os.listdir(tmp_path) == ["file"]


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = records.write(RECORD, tmp_path)
    # The process dies between the writing of the temporary file and its renaming.
    program = (
        "import os, sys; from pathlib import Path; from kdbench import records\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "records.write_atomically(Path(sys.argv[1]), 'half')"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -9
    assert records.read(path) == RECORD
    assert list(records.read_all(tmp_path)) == [RECORD]  # what the dead writer left behind is no record


def test_a_writer_that_fails_cleans_up(tmp_path, monkeypatch):
    def refuse(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        records.write(RECORD, tmp_path)
    assert os.listdir(tmp_path) == []


def test_numbers_keep_their_type(tmp_path):
    back = records.read(records.write(RECORD, tmp_path))
    assert [type(value) for value in back.hyperparameters.values()] == [float, int, str]
    assert json.loads((tmp_path / f"{RECORD.key}.json").read_text())["version"] == records.RECORD_VERSION


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        path = records.write(RECORD, tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
