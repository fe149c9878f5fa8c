"""The queue on disk: order, crashes, torn lines."""

import fcntl
import os
from pathlib import Path

import pytest

from kdbench.tracking import spool
from kdbench.tracking.operations import (
    Current,
    Dataset,
    Folder,
    Operation,
    Student,
    Text,
    Write,
    decode,
    encode,
)
from kdbench.tracking.spool import Appender, Reader, segments, waiting

EVERY_KIND: list[Operation] = [
    Write(
        run="trial|a->b|k",
        name="n · #01",
        parent="study|a->b|s",
        started=5,
        tags={"kdbench.state": "running"},
        params={"lr": "0.1"},
        epochs=((1, 10, {"val/accuracy": 0.5}), (2, 20, {"val/accuracy": 0.6})),
        results={"test/accuracy": 0.7},
        step=2,
        status="FINISHED",
        ended=30,
        reused=True,
    ),
    Text("launch||", "a: 1\n", "suite.yaml"),
    Folder("launch||", "/some/where", "report"),
    Dataset("launch||", "digits", "abc", "{}"),
    Student("final|a->b|k", "k", "/x.safetensors", {"kdbench.key": "k"}, 3, "name", "words"),
    Current(("trial|a->b|k", "launch||")),
]


def write(number: int) -> Write:
    return Write(run=f"trial||{number}", name=str(number))


def names(operations: list[Operation]) -> list[str]:
    return [operation.name for operation in operations if isinstance(operation, Write)]


@pytest.mark.parametrize("operation", EVERY_KIND, ids=lambda operation: type(operation).__name__)
def test_an_operation_comes_back_as_it_was(operation: Operation) -> None:
    assert decode(encode(operation)) == operation


def test_an_epoch_takes_little_space() -> None:
    assert len(encode(Write(run="trial|a->b|" + 64 * "0", epochs=((1, 10, {"val/accuracy": 0.5}),)))) < 200


def test_two_writes_are_one_that_does_both() -> None:
    opened = Write(run="r", name="n", started=5, tags={"state": "running", "a": "1"}, status="RUNNING")
    epoch = Write(run="r", epochs=((1, 10, {"x": 1.0}),))
    ended = Write(
        run="r", tags={"state": "complete"}, epochs=((2, 20, {"x": 2.0}),), status="FINISHED", ended=9
    )
    both = opened.then(epoch).then(ended)
    assert both.name == "n" and both.started == 5 and both.status == "FINISHED" and both.ended == 9
    assert both.tags == {"state": "complete", "a": "1"}
    assert [number for number, _, _ in both.epochs] == [1, 2]


def test_operations_come_out_in_order_over_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT", 3)
    appender = Appender(tmp_path)
    appender.append(*map(write, range(8)))
    assert len(segments(tmp_path)) == 3
    reader = Reader(tmp_path)
    assert names(reader.take(5)) == ["0", "1", "2", "3", "4"]
    assert names(reader.take(5)) == ["0", "1", "2", "3", "4"], "not acknowledged, so taken again"
    reader.acknowledge()
    assert names(reader.take(5)) == ["5", "6", "7"]
    appender.close()


def test_a_segment_goes_when_it_is_sent_and_nobody_writes_to_it(tmp_path: Path) -> None:
    appender, reader = Appender(tmp_path), Reader(tmp_path)
    appender.append(write(0))
    reader.take(9)
    reader.acknowledge()
    assert len(segments(tmp_path)) == 1, "more may come"
    appender.append(write(1))
    assert names(reader.take(9)) == ["1"]
    appender.close()
    reader.acknowledge()
    assert segments(tmp_path) == [] and waiting(tmp_path) == 0


def test_what_was_taken_but_not_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    appender = Appender(tmp_path)
    appender.append(write(0), write(1))
    Reader(tmp_path).take(1)
    assert names(Reader(tmp_path).take(9)) == ["0", "1"]
    appender.close()


def test_a_torn_tail_is_left_out_and_the_next_launch_goes_on_behind_it(tmp_path: Path) -> None:
    first = Appender(tmp_path)
    first.append(write(0), write(1))
    first.close()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-7])
    second = Appender(tmp_path)
    second.append(write(2))
    reader = Reader(tmp_path)
    assert names(reader.take(9)) == ["0", "2"]
    second.close()
    reader.acknowledge()
    assert segments(tmp_path) == []


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    appender = Appender(tmp_path)
    appender.append(write(0))
    path, line = segments(tmp_path)[0], encode(write(1))
    with path.open("ab") as file:
        file.write(line[:10])
    reader = Reader(tmp_path)
    assert names(reader.take(9)) == ["0"]
    reader.acknowledge()
    with path.open("ab") as file:
        file.write(line[10:])
    assert names(reader.take(9)) == ["1"]
    appender.close()


@pytest.mark.parametrize(
    "damage", [b"\0\0\0\0\n", b'{"operation": "Unknown"}\n', b"[1]\n", b'{"operation": "Write"}\n']
)
def test_a_damaged_line_is_skipped_and_told(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "000001.jsonl").write_bytes(encode(write(0)) + damage + encode(write(2)))
    reader = Reader(tmp_path)
    assert names(reader.take(9)) == ["0", "2"]
    assert "damaged" in caplog.text
    reader.acknowledge()
    assert segments(tmp_path) == []


def test_the_reader_never_sees_a_segment_that_looks_given_up(tmp_path: Path) -> None:
    appender = Appender(tmp_path)
    appender.append(write(0))
    file = os.open(segments(tmp_path)[0], os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(file)
    appender.close()


def test_numbers_are_not_used_twice(tmp_path: Path) -> None:
    one, other = Appender(tmp_path), Appender(tmp_path)
    one.append(write(0))
    other.append(write(1))
    assert names(Reader(tmp_path).take(9)) == ["0", "1"]
    one.close()
    other.close()
