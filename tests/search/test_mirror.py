"""State in an object store, played by fsspec's stores."""

import os
import uuid
from dataclasses import replace

import fsspec
import pytest

from kdbench import records
from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.records import Epoch, Record
from kdbench.search import mirror
from kdbench.search.mirror import Mirror, open_uri
from kdbench.search.store import Store, folder_of, is_remote, state_home


@pytest.fixture
def bucket():
    return f"memory://{uuid.uuid4().hex}/kdbench"


def machine(tmp_path, name):
    return Home(tmp_path / name)


def record(key="a" * 64, **more):
    return Record(key=key, kind="final", state="running", method="bss", hyperparameters={}, seed=0, **more)


def test_a_folder_travels_from_one_machine_to_another(tmp_path, bucket):
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    records.write(record(), here.results)
    (here.results / ".partial.json").write_text("{")
    Mirror(bucket, here).push("results")
    Mirror(bucket, there).pull("results")
    assert [path.name for path in there.results.iterdir()] == [f"{'a' * 64}.json"]
    assert records.read(there.results / f"{'a' * 64}.json") == record()


def test_only_what_has_changed_is_fetched(tmp_path, bucket, monkeypatch):
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    (here.root / "results").mkdir(parents=True)
    (here.results / "one").write_text("1")
    (here.results / "two").write_text("2")
    Mirror(bucket, here).push("results")
    copy = Mirror(bucket, there)
    copy.pull("results")
    opened = []
    fetch = type(copy._remote).open_input_stream
    monkeypatch.setattr(copy, "_remote", _Counting(copy._remote, opened))
    copy.pull("results")
    assert opened == []
    (here.results / "two").write_text("changed")
    Mirror(bucket, here).push("results", ["two"])
    copy.pull("results")
    assert [os.path.basename(path) for path in opened] == ["two"]
    assert (there.results / "two").read_text() == "changed"
    assert fetch


class _Counting:
    def __init__(self, system, opened):
        self._system, self._opened = system, opened

    def __getattr__(self, name):
        return getattr(self._system, name)

    def open_input_stream(self, path):
        self._opened.append(path)
        return self._system.open_input_stream(path)


def test_named_files_alone_travel_and_absent_ones_are_no_error(tmp_path, bucket):
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    here.teachers.mkdir(parents=True)
    for name in ("one", "two"):
        (here.teachers / name).write_text(name)
    Mirror(bucket, here).push("teachers", ["one", "nothing"])
    copy = Mirror(bucket, there)
    assert copy.has("teachers", "one") and not copy.has("teachers", "two")
    copy.pull("teachers", ["one", "nothing"])
    copy.pull("students")
    assert [path.name for path in there.teachers.iterdir()] == ["one"]


def test_what_is_removed_is_gone_in_both_places(tmp_path, bucket):
    here = machine(tmp_path, "here")
    folder = here.checkpoints / "key"
    folder.mkdir(parents=True)
    (folder / "student.safetensors").write_text("weights")
    copy = Mirror(bucket, here)
    copy.push("checkpoints/key")
    copy.remove("checkpoints/key")
    copy.remove("checkpoints/never")
    assert not folder.exists()
    assert not copy.has("checkpoints/key", "student.safetensors")


def test_a_store_that_stumbles_is_asked_again(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(mirror, "_PAUSES_S", (0.0, 0.0))
    here = machine(tmp_path, "here")
    here.results.mkdir(parents=True)
    (here.results / "one").write_text("1")
    copy = Mirror(bucket, here)
    failures = iter([OSError("slow down"), OSError("slow down"), None])

    def create_dir(path, recursive):
        problem = next(failures)
        if problem:
            raise problem

    monkeypatch.setattr(copy, "_remote", _Flaky(copy._remote, create_dir))
    copy.push("results")
    assert copy.has("results", "one")


class _Flaky(_Counting):
    def __init__(self, system, create_dir):
        super().__init__(system, [])
        self.create_dir = create_dir


@pytest.mark.parametrize("uri", ["nosuch://bucket/path", "s3x://bucket"])
def test_what_nothing_opens_is_a_users_mistake(uri):
    with pytest.raises(UserError) as caught:
        open_uri(uri)
    assert caught.value.mistakes[0].key == "storage"


def test_folders_and_object_stores_are_told_apart(make_plan, tmp_path):
    home = Home(tmp_path / "home")
    assert state_home(make_plan(), home) == home
    assert state_home(make_plan(storage=str(tmp_path / "shared")), home).root == tmp_path / "shared"
    assert state_home(make_plan(storage=f"file://{tmp_path}/shared"), home).root == tmp_path / "shared"
    assert state_home(make_plan(storage="s3://bucket/kdbench"), home) == home
    assert is_remote("s3://bucket") and not is_remote("/folder") and not is_remote("file:///folder")
    assert str(folder_of("file:///a/b")) == "/a/b"


def test_records_there_are_the_authority_and_those_only_here_are_added(make_plan, tmp_path, bucket):
    plan = make_plan(storage=bucket)
    first, second = (Store(plan, machine(tmp_path, name)) for name in ("first", "second"))
    ended = replace(record(), state="complete", history=(Epoch(1, "distil", 1.0, {"val/loss": 1.0}),))
    first.write(ended)
    records.write(record(), second.home.results)  # of before the run ended
    old = second.home.results / f"{'a' * 64}.json"
    os.utime(old, (1, 1))
    records.write(record("b" * 64), second.home.results)
    second.fetch()
    assert {r.key: r.state for r in second.records()} == {"a" * 64: "complete", "b" * 64: "running"}
    first.fetch()
    assert first.record("b" * 64) == record("b" * 64)


def test_teachers_students_and_checkpoints_are_looked_for_in_the_store(make_plan, tmp_path, bucket):
    worker = machine(tmp_path, "worker")
    for folder in (worker.teachers, worker.students, worker.checkpoints / "key"):
        folder.mkdir(parents=True)
        (folder / "key.safetensors").write_text("weights")
    for folder in ("teachers", "students", "checkpoints/key"):
        Mirror(bucket, worker).push(folder)
    store = Store(make_plan(storage=bucket), machine(tmp_path, "driver"))
    assert store.has_teacher("key") and not store.has_teacher("other")
    store.fetch_student("key")
    assert (store.home.students / "key.safetensors").read_text() == "weights"
    store.forget_checkpoints("key")
    assert not fsspec.filesystem("memory").glob(f"{bucket}/checkpoints/key/*")
