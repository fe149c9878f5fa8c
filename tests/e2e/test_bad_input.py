"""Whatever a user gets wrong: exit code 2, what and where and what instead, no traceback, nothing begun."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdbench.cli import app

GOOD = """
name: good
dataset: digits
pairs: [{teacher: resnet8, student: resnet8w4}]
training: {epochs: 5}
methods: [original, hinton]
search: {trials: 2}
final: {seeds: 2}
"""

runner = CliRunner()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A folder of its own to type in, with a suite that is right."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KDBENCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "cached").mkdir()
    return tmp_path


def refused(arguments: list[str], place: Path) -> str:
    """The message that answers a command line; asserts that it is refused and leaves nothing behind."""
    before = sorted(str(path) for path in place.rglob("*"))
    ended = runner.invoke(app, arguments)
    said = ended.stderr + ended.stdout
    assert ended.exit_code == 2, said
    assert "Traceback" not in said
    after = (str(path) for path in place.rglob("*"))
    # The one thing kept is what reading a data set told of it, so that it need not be read again.
    noted = (str(place / "home"), str(place / "home" / "datasets"))
    assert [path for path in after if path not in (*before, *noted) and not path.startswith(noted[1])] == []
    return ended.stderr


# What is laid over the suite, and what the answer says.
SETS = [
    ("unknown key", "serch.trials=3", ["serch", "did you mean 'search'"]),
    ("unknown key inside", "search.trails=3", ["search.trails", "did you mean 'trials'"]),
    ("wrong type", "search.trials=many", ["search.trials: given 'many'", "integer"]),
    ("a boolean for a number", "final.seeds=true", ["final.seeds: given True", "integer"]),
    ("a word for a number", "training.lr='0.1'", ["training.lr: given '0.1'", "number"]),
    ("NaN", "training.lr=.nan", ["training.lr: given nan"]),
    ("infinity", "resources.gpu=.inf", ["resources.gpu: given inf"]),
    ("out of range", "training.dropout=1", ["training.dropout: given 1", "[0, 1)"]),
    ("out of range fraction", "fractions=[1.5]", ["fractions.0: given 1.5", "(0, 1]"]),
    ("missing weights", "pairs.0.teacher.weights=no.safetensors", ["no.safetensors", "existing"]),
    ("unknown method", "methods=[hintn]", ["methods.0.method: given 'hintn'", "did you mean 'hinton'"]),
    ("unknown member", "methods=[bss+fps]", ["methods.0.method", "did you mean 'fsp'"]),
    ("impossible composition", "methods=[at+ban]", ["methods.0.method: given 'at+ban'"]),
    ("unknown model", "pairs.0.student=resnet9", ["pairs.0.student: given 'resnet9'", "resnet<6n+2>"]),
    ("unknown dataset", "dataset=mnits", ["dataset.name: given 'mnits'", "did you mean 'mnist'"]),
    ("unknown sampler", "search.sampler=tpee", ["search.sampler: given 'tpee'", "did you mean 'tpe'"]),
    ("unknown scheduler", "search.scheduler=pbt", ["search.scheduler: given 'pbt'", "asha | none"]),
    ("an empty class", "fractions=[1.0, 0.001]", ["good.yaml: fractions: given 0.001", "at least"]),
    ("grace beyond the epochs", "search.grace_epochs=5", ["search.grace_epochs: given 5", "which is 5"]),
    ("a path for a name", "name=../../etc/passwd", ["name: given '../../etc/passwd'", "small letters"]),
    (
        "a method the pair cannot run",
        "methods=[at]",
        ["good.yaml: methods.0: given 'at' for", "feature maps"],
    ),
    ("the same work twice", "methods=[hinton, {method: hinton, as: b}]", ["methods: given 'b'"]),
    ("an unknown class", "data.omit_classes=[ten]", ["data.omit_classes: given 'ten'"]),
    ("code", "name=!!python/object/apply:os.system [id]", ["name: given the tag", "without tags"]),
    ("no value", "seed", ["--set: given 'seed'", "key.key=value"]),
    ("a list too short", "pairs.7.student=resnet8", ["pairs.7", "from 0 to 0"]),
    (
        "a range the method refuses",
        "spaces.hinton.alpha={float: [0, 3]}",
        ["spaces.hinton.alpha", "in [0, 1]"],
    ),
    ("a default outside", "training.lr=0.9", ["training.lr: given 0.9", "[0.001, 0.5]"]),
    ("data that are not there", "dataset={parquet: nowhere, name: mine}", ["nowhere"]),
    ("a store that is none", "tracking=ftp://x", ["tracking: given", "sqlite:///"]),
    ("a server that is away", "tracking=http://127.0.0.1:9", ["tracking: given", "does not answer"]),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in SETS], ids=[row[0] for row in SETS])
def test_a_launch_with_a_mistake(place, change, said):
    more = ["--set", "pairs.0.student=mlp-8x2"] if change == "methods=[at]" else []
    message = refused(["launch", "good.yaml", "--set", change, *more], place)
    for part in said:
        assert part in message
    assert all(line.startswith("kdbench: ") for line in message.strip().splitlines())


FILES = [
    ("empty", b"", "an empty file"),
    ("a list", b"- name\n", "a list"),
    ("no YAML", b"name: [\n", "line 2"),
    ("not UTF-8", b"name: \xff\n", "not UTF-8"),
    ("code", b"!!python/object/apply:os.system [touch owned]\n", "the tag"),
    ("a key twice", b"name: a\nname: b\n", "is there twice"),
    ("aliases without end", b"a: &a [*a]\n", "without end"),
]


@pytest.mark.parametrize(("content", "said"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_file_that_is_no_suite(place, content, said):
    (place / "bad.yaml").write_bytes(content)
    message = refused(["launch", "bad.yaml"], place)
    assert "bad.yaml" in message
    assert said in message
    assert not (place / "owned").exists()


def test_a_suite_that_is_not_there(place):
    assert "No such file" in refused(["launch", "nowhere.yaml"], place)
    assert "did you mean 'quickstart'" in refused(["launch", "quikstart"], place)
    (place / "folder.yaml").mkdir()
    assert "a folder" in refused(["launch", "folder.yaml"], place)


def test_all_mistakes_at_once(place):
    sets = ["serch.trials=3", "training.lr=-1", "methods=[hintn]", "pairs.0.student=resnt8", "name=A"]
    message = refused(["launch", "good.yaml", *(part for text in sets for part in ("--set", text))], place)
    assert len(message.strip().splitlines()) == 5
    for key in ("serch", "training.lr", "methods.0.method", "pairs.0.student", "name"):
        assert f": {key}: given" in message


def test_a_dry_run_finds_the_same_mistakes(place):
    assert "fractions" in refused(["launch", "good.yaml", "--dry-run", "--set", "fractions=[0.001]"], place)


def test_data_that_are_not_there_are_named_with_the_places_looked_at(place):
    message = refused(["launch", "good.yaml", "--set", "dataset=mnist"], place)
    for part in ("root", "KDBENCH_DATA", ".cache/kdbench"):
        assert part in message


OTHERS = [
    (["launch", "good.yaml", "--address", "nowhere"], ["--address: given 'nowhere'", "HOST:PORT"]),
    (["launch", "good.yaml", "--address", "127.0.0.1:9"], ["--address: given '127.0.0.1:9'"]),
    (["launch"], ["SUITE"]),
    (["launch", "good.yaml", "--sett", "a=b"], ["--set"]),
    (["status", "good"], ["suite: given 'good'", "none was"]),
    (["status", "good.yaml"], ["suite: given 'good'", "none was"]),
    (["report", "good"], ["good"]),
    (["sync", "good"], ["suite: given 'good'"]),
    (["export", "good", "--method", "bss", "--out", "x"], ["suite: given 'good'"]),
    (["list", "method"], ["list: given 'method'", "did you mean 'methods'"]),
    (
        ["train", "hintn", "--dataset", "digits", "--student", "resnet8"],
        ["METHOD: given 'hintn'", "'hinton'"],
    ),
    (["train", "hinton", "--dataset", "digits", "--student", "resnet8"], ["--teacher: given nothing"]),
    (["train", "bss+fsp", "--dataset", "digits", "--student", "resnet8"], ["--teacher: given nothing"]),
    (
        ["train", "original", "--dataset", "digit", "--student", "resnet8"],
        ["--dataset: given 'digit'", "'digits'"],
    ),
    (["train", "original", "--dataset", "[", "--student", "resnet8"], ["--dataset: given"]),
    (["train", "original", "--dataset", "digits", "--student", "resnt8"], ["--student: given 'resnt8'"]),
    (
        ["train", "at", "--dataset", "digits", "--student", "mlp-8x2", "--teacher", "resnet8"],
        ["METHOD", "feature maps"],
    ),
]
TRAIN = ["train", "hinton", "--dataset", "digits", "--student", "resnet8", "--teacher", "resnet8"]
OTHERS += [
    ([*TRAIN, *options], said)
    for options, said in [
        (["--set", "temperatur=3"], ["--set: temperatur", "did you mean 'temperature'"]),
        (["--set", "temperature=-3"], ["temperature: given -3", "> 0"]),
        (["--set", "temperature"], ["--set: given 'temperature'", "key=value"]),
        (["--set", "lr=fast"], ["lr: given 'fast'"]),
        (["--epochs", "0"], ["epochs: given 0", "from 1 to"]),
        (["--epochs", "many"], ["--epochs"]),
        (["--batch-size", "1"], ["batch_size: given 1", "from 2 to"]),
        (["--fraction", "0"], ["--fraction: given 0", "(0, 1]"]),
        (["--fraction", "0.001"], ["--fraction: given 0.001", "at least"]),
        (["--fraction", "nan"], ["--fraction: given nan"]),
        (["--seed", "-1"], ["--seed: given -1", "from 0 to"]),
        (["--device", "tpu"], ["--device: given 'tpu'", "cpu"]),
        (["--weights", "nowhere"], ["--weights: given", "existing"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml: given No such file"]),
        (["--config", "good.yaml"], ["good.yaml: name: given 'name'", "a hyperparameter of hinton"]),
        (["--threads", "0"], ["--threads"]),
    ]
]


@pytest.mark.parametrize(("arguments", "said"), OTHERS, ids=[" ".join(row[0]) for row in OTHERS])
def test_other_commands_with_a_mistake(place, arguments, said):
    message = refused(arguments, place)
    for part in said:
        assert part in message


def test_several_mistakes_of_a_training_at_once(place):
    arguments = [
        "train",
        "hinton",
        "--dataset",
        "digit",
        "--student",
        "resnt8",
        "--device",
        "tpu",
        "--set",
        "alpa=1",
    ]
    message = refused([*arguments, "--set", "lr=-1", "--fraction", "0"], place)
    for key in ("--dataset", "--student", "--device", "--teacher", "alpa", "lr", "--fraction"):
        assert f"{key}: given" in message


def kdbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kdbench")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_real_command_answers_on_standard_error_without_a_traceback(place):
    ended = kdbench("launch", "good.yaml", "--set", "search.trials=0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr == "kdbench: --set search.trials=0: search.trials: given 0; "
        "allowed: an integer from 1 to 1000000\n"
    )
    # What the data are like is noted; nothing else.
    assert [item.name for item in (place / "home").iterdir()] == ["datasets"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_code(place, number, code):
    program = (
        "import os, sys, time\n"
        "from kdbench.cli import lists, main\n"
        "def show(what, *, as_json):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(30)\n"
        "lists.show = show\n"
        "sys.argv = ['kdbench', 'list', 'models']\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
