"""The commands over real plans, records and trainings; launches through Ray are in e2e/."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from kdbench import data, methods, plan, records, suite
from kdbench.cli import app, launching, words
from kdbench.cli.cleaning import planned_keys
from kdbench.cli.progress import Lines, Terminal
from kdbench.home import Home
from kdbench.plan import Plan, Run
from kdbench.records import Epoch, Record
from kdbench.search.locks import only_launch
from kdbench.search.progress import Counts
from kdbench.training.job import Job, job_key

TEXT = """
name: tiny
dataset: digits
pairs: [{teacher: mlp-16x2, student: mlp-8x2}]
teacher: {epochs: 2}
training: {epochs: 2}
methods: [original, hinton]
search: {trials: 2, grace_epochs: 1}
final: {seeds: 2}
"""

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return Home(tmp_path / "home")


def run(*arguments: str, code: int = 0, typed: str | None = None) -> str:
    ended = runner.invoke(app, list(arguments), input=typed)
    assert ended.exit_code == code, ended.output
    return ended.stdout


def make(*sets: str) -> Plan:
    wanted = suite.load("tiny.yaml", sets)
    facts = data.facts(wanted.dataset)
    return plan.make_plan(wanted, facts, data.load_training(wanted.dataset).labels.numpy(), "cpu")


def record(run: Run, job: Job, accuracy: float, **more: object) -> Record:
    history = (Epoch(2, "train", 2.0, {"val/accuracy": accuracy, "val/loss": 1.0}),)
    values = {"kind": run.kind, "state": "complete", "method": job.method, "history": history}
    values |= {"test": {"test/accuracy": accuracy}} if run.kind == "final" else {}
    hyperparameters = {**job.hyperparameters, "lr": job.recipe.lr, "weight_decay": job.recipe.weight_decay}
    return Record(key=run.key, hyperparameters=hyperparameters, seed=job.seed, **(values | more))


def finish(planned: Plan, home: Home) -> list[tuple[Run, Record]]:
    """Write what a launch of `planned` would: every record, the default configuration being the best."""
    found = [
        (plan.teacher_run(item), record(plan.teacher_run(item), item.job, 0.9)) for item in planned.teachers
    ]
    for study in planned.studies:
        for number in range(study.trials):
            sampled = study.enqueued[0] if number == 0 else {**study.enqueued[0], "lr": 0.01}
            job = plan.trial_job(planned, study, number, sampled)
            one = plan.trial_run(planned, study, number, sampled)
            more = {"study": study.key, "number": number, "sampled": sampled}
            found.append((one, record(one, job, 0.5 - number / 10, **more)))
    for one, job in planned.defaults:
        one = dataclasses.replace(one, config="tuned,default")
        found.append((one, record(one, job, 0.8)))
    for _, item in found:
        records.write(item, home.results)
    plan.write(planned, home.launch(planned.suite.name))
    return found


@pytest.mark.parametrize("what", ["methods", "spaces", "datasets", "models", "suites"])
def test_lists_are_read_by_people_and_programs(what):
    rows = json.loads(run("list", what, "--json"))
    lines = run("list", what).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].split()[0] == next(iter(rows[0])).upper()
    for row, line in zip(rows, lines[1:], strict=True):
        assert line.startswith(str(next(iter(row.values()))))


def test_lists_are_complete():
    assert [row["method"] for row in json.loads(run("list", "methods", "--json"))] == list(methods.names())
    assert [row["suite"] for row in json.loads(run("list", "suites", "--json"))] == list(suite.names())
    searched = {row["method"] for row in json.loads(run("list", "spaces", "--json"))}
    assert {"(all)", "hinton", "bss"} <= searched


def test_a_dry_run_prints_the_plan_and_runs_nothing(home):
    said = run("launch", "tiny.yaml", "--dry-run", "--set", "search.trials=7")
    for part in (
        "tiny: digits (1438 training and 359 test images, 10 classes), on cpu",
        "study        hinton · mlp-16x2->mlp-8x2 · 100 %: temperature, alpha, lr, weight_decay",
        "teachers     1",
        "search       2 studies, 14 trials",
        "final runs   4 tuned, 4 default",
        f"epochs       {2 * (14 + 8) + 2} at most",
        "of device time",
        "disk",
    ):
        assert part in said
    assert not (home.root / "launches").exists()
    assert not home.results.exists()


def test_status_of_a_launch_under_way(home):
    planned = make()
    found = finish(planned, home)
    lost = [item for one, item in found if one.kind == "final"][0]
    (home.results / f"{lost.key}.json").unlink()
    said = run("status", "tiny")
    assert "studies 2/2" in said
    assert "trials 4/4" in said
    assert "final runs 6/8" in said  # the run is the tuned and the default one
    assert (
        "original · mlp-16x2->mlp-8x2 · 100 %: 2 of 2 trials (2 complete); best 50.00 % on validation" in said
    )
    assert "2 final runs have no result" in said
    assert "original · mlp-16x2→mlp-8x2 · 100 % · seed 0: not run yet" in said
    assert run("status", "tiny.yaml") == said
    records.write(lost, home.results)
    assert "Everything is done." in run("status", "tiny")


def test_a_finished_launch_is_recognised_without_engines(home, tmp_path):
    planned = make()
    found = finish(planned, home)
    uri = home.mlflow_uri
    program = (
        "import sys\nfrom kdbench.cli import app\n"
        "app(['launch', 'tiny.yaml'], standalone_mode=False)\n"
        "print([name for name in ('ray', 'mlflow', 'optuna', 'pandas') if name in sys.modules])"
    )
    from kdbench.tracking import told

    (home.root / "mlflow.db").touch()
    told.mark(home.launch("tiny"), uri, [(one, item.state) for one, item in found])
    (tmp_path / "reports" / "tiny").mkdir(parents=True)
    (tmp_path / "reports" / "tiny" / "index.html").write_text("a report")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    assert "tiny: everything is done: 2 studies of 2, 4 trials" in ended.stdout
    assert "reports/tiny/index.html" in ended.stdout
    assert "kdbench ui" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_launch_says_what_a_changed_suite_keeps(home):
    folder = home.launch("tiny")
    assert launching.changes(folder, make()) == []
    plan.write(make(), folder)
    assert launching.changes(folder, make()) == []
    lines = launching.changes(folder, make("search.trials=3", "spaces.hinton.alpha={float: [0.5, 1.0]}"))
    assert lines == [
        "studies: 1 of 2 reused",
        "studies to do, changed search space: hinton · mlp-16x2->mlp-8x2 · 100 %",
        "studies that go on from 2 to 3 trials: 1",
    ]
    (folder / plan.PLAN_FILE).write_text("{}")
    (line,) = launching.changes(folder, make())
    assert "another version" in line


def test_clean_removes_what_no_plan_refers_to(home):
    found = finish(make(), home)
    keys = {one.key for one, _ in found}
    assert planned_keys(make(), home) == keys
    other = dataclasses.replace(found[-1][1], key="f" * 64)
    records.write(other, home.results)
    home.students.mkdir()
    home.teachers.mkdir()
    for key in ("f" * 64, found[-1][0].key):
        (home.students / f"{key}.safetensors").write_bytes(b"weights")
        (home.students / f"{key}.json").write_text("{}")
        (home.checkpoints / key).mkdir(parents=True)
        (home.checkpoints / key / "state.json").write_text("{}")
    (home.teachers / f"{'e' * 64}.safetensors").write_bytes(b"1234567890" * 1000)

    listed = run("clean", "--dry-run")
    assert "teachers: 1 file, 10 kB" in listed
    assert f"{'e' * 64}.safetensors  10 kB" in listed
    assert (home.teachers / f"{'e' * 64}.safetensors").exists()

    run("clean", typed="n\n", code=1)
    assert (home.results / f"{'f' * 64}.json").exists()

    run("clean", "--yes")
    left = {path.name.partition(".")[0] for path in home.results.iterdir()}
    assert left == keys
    assert {path.name.partition(".")[0] for path in home.students.iterdir()} == {found[-1][0].key}
    assert [path.name for path in home.checkpoints.iterdir()] == [found[-1][0].key]
    assert not list(home.teachers.iterdir())
    assert "Nothing to remove" in run("clean", "--yes")


def test_clean_leaves_trials_beyond_a_lowered_budget(home):
    finish(make(), home)
    plan.write(make("search.trials=1"), home.launch("tiny"))
    assert "Nothing to remove" in run("clean", "--yes")


def test_clean_waits_for_a_running_launch(home):
    finish(make(), home)
    (home.results / f"{'f' * 64}.json").write_text("{}")
    with only_launch(home.launch("tiny"), "tiny"):
        ended = runner.invoke(app, ["clean", "--yes"])
    assert ended.exit_code == 2
    assert "one launch of a suite at a time" in ended.stderr
    assert (home.results / f"{'f' * 64}.json").exists()


def test_clean_refuses_while_a_plan_cannot_be_read(home):
    finish(make(), home)
    (home.launch("tiny") / plan.PLAN_FILE).write_text("{}")
    ended = runner.invoke(app, ["clean", "--yes"])
    assert ended.exit_code == 2
    assert "launch its suite again" in ended.stderr
    assert len(list(home.results.iterdir())) == 9


TRAIN = (
    "train",
    "hinton",
    "--dataset",
    "digits",
    "--teacher",
    "mlp-16x2",
    "--student",
    "mlp-8x2",
    "--epochs",
    "2",
)


def test_training_one_student(home, tmp_path):
    said = run(*TRAIN, "--set", "temperature=8", "--set", "lr=1e-2", "--out", "one")
    assert "Not evaluated on the test split" in said
    result = json.loads(Path("one/result.json").read_text())
    assert (result["kind"], result["state"], result["test"]) == ("trial", "complete", {})
    assert not any("test" in name for epoch in result["history"] for name in epoch["metrics"])
    assert result["hyperparameters"] == {"temperature": 8.0, "alpha": 0.9, "lr": 0.01, "weight_decay": 5e-4}
    assert sorted(path.name for path in Path("one").iterdir()) == [
        "config.yaml",
        "result.json",
        "student.json",
        "student.safetensors",
    ]

    # The teacher is kept and taken again; its record lets a launch do the same.
    (teacher,) = home.teachers.glob("*.safetensors")
    kept = records.read(home.results / f"{teacher.stem}.json")
    assert (kept.kind, kept.state) == ("teacher", "complete")
    again = run(*TRAIN, "--config", "one/config.yaml", "--out", "two", "--test")
    assert "teacher mlp-16x2: taken from" in again
    tested = json.loads(Path("two/result.json").read_text())
    assert tested["kind"] == "final"
    assert 0 <= tested["test"]["test/accuracy"] <= 1
    assert f"{tested['test']['test/accuracy']:.6g}" in again

    # The same configuration gives the same bits, and the key that a launch would give its first final run.
    assert Path("one/student.safetensors").read_bytes() == Path("two/student.safetensors").read_bytes()
    assert result["key"] == tested["key"]
    (tmp_path / "same.yaml").write_text(
        "name: same\ndataset: digits\npairs: [{teacher: mlp-16x2, student: mlp-8x2}]\n"
        "training: {epochs: 2, lr: 0.01}\nmethods: [{method: hinton, fixed: {temperature: 8}}]\n"
        "search: {grace_epochs: 1}\n"
    )
    wanted = suite.load("same.yaml")
    facts = data.facts(wanted.dataset)
    labels = data.load_training(wanted.dataset).labels.numpy()
    (first, job), *_ = plan.make_plan(wanted, facts, labels, "cpu").defaults
    assert first.key == job_key(job, "cpu") == result["key"]


def test_options_go_over_the_file_and_sets_over_both(tmp_path):
    (tmp_path / "c.yaml").write_text("temperature: 2\nepochs: 9\nbatch_size: 64\n")
    run(*TRAIN, "--config", "c.yaml", "--set", "batch_size=32", "--out", "one")
    values = yaml.safe_load(Path("one/config.yaml").read_text())
    assert (values["temperature"], values["epochs"], values["batch_size"]) == (2.0, 2, 32)


def test_a_method_without_a_teacher_needs_none(home):
    run(
        "train",
        "original",
        "--dataset",
        "digits",
        "--student",
        "mlp-8x2",
        "--epochs",
        "1",
        "--fraction",
        "0.1",
    )
    assert Path("student/student.safetensors").exists()
    assert not home.teachers.exists()


def test_a_training_that_diverges_ends_with_code_1():
    said = run(*TRAIN, "--set", "lr=1e30", "--out", "one", code=1)
    assert "diverged" in said
    assert json.loads(Path("one/result.json").read_text())["reason"] == "nan"
    assert not Path("one/student.safetensors").exists()


def test_the_doctor_looks_at_this_machine(home):
    said = run("doctor")
    assert all(line.startswith("ok ") for line in said.splitlines())
    for what in ("versions", "devices", "state", "data", "MLflow"):
        assert f"ok   {what}" in said
    said = run("doctor", "--tracking-uri", "http://127.0.0.1:9", code=1)
    assert "BAD  MLflow" in said
    assert not home.root.exists()


COUNTS = Counts(
    studies=4,
    studies_done=1,
    trials=24,
    trials_done=7,
    finals=12,
    finals_done=2,
    teachers=1,
    teachers_done=1,
    running=2,
    pruned=3,
    elapsed=75.0,
    remaining=600.0,
)
TRIAL = Run("trial", "k", "bss", "resnet14->resnet8w4", 1.0, 5, "s", 1.0, 7)


def show(board: Lines | Terminal) -> None:
    board.note("a note")
    board.started(TRIAL)
    board.epoch(TRIAL, Epoch(3, "distil", 3.0, {"val/accuracy": 0.875}))
    board.best("bss", "resnet14->resnet8w4", 0.9)
    board.best("hinton", "resnet14->resnet8w4", 0.95)
    board.counts(COUNTS)


def test_a_log_gets_a_line_every_ten_seconds():
    stream, now = io.StringIO(), [0.0]
    with Lines(stream, clock=lambda: now[0]) as board:
        show(board)
        for second in range(1, 31):
            now[0] = float(second)
            board.counts(dataclasses.replace(COUNTS, trials_done=7 + second))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "a note"
    assert lines[1] == (
        "teachers 1/1 · studies 1/4 · trials 7/24 (3 pruned) · final runs 2/12 · 2 running · 75 s · "
        "about 10 min left · best so far hinton 95.00 % (resnet14->resnet8w4, validation)"
    )
    assert [line.split("trials ")[1].split("/")[0] for line in lines[1:]] == ["7", "17", "27", "37"]


def test_a_terminal_gets_a_table():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    board = Terminal(console)
    show(board)
    with console.capture() as captured:
        console.print(board.draw())
    shown = captured.get()
    for part in ("studies 1/4", "resnet14→resnet8w4", "hinton", "95.00 %", "#07 · epoch 3 · 87.50 %"):
        assert part in shown
    board.ended(TRIAL, Record("k", "trial", "complete", "bss", {}, 5))
    with console.capture() as captured:
        console.print(board.draw())
    assert "#07" not in captured.get()


def test_a_cluster_does_not_flood_the_terminal():
    board = Terminal(Console(file=io.StringIO(), width=100))
    board.counts(COUNTS)
    for number in range(100):
        board.started(dataclasses.replace(TRIAL, key=str(number), number=number))
    assert len(board.draw().renderables) < 15


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (120, "2 min"),
        (5900, "98 min"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 4 * 3600, "3 d 04 h"),
    ],
)
def test_durations(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3_400_000, "3.4 MB"), (12e9, "12 GB"), (2e12, "2.0 TB")],
)
def test_sizes(count, said):
    assert words.size(count) == said


def test_counted():
    assert [words.counted(1, "study"), words.counted(2, "study"), words.counted(0, "trial")] == [
        "1 study",
        "2 studies",
        "0 trials",
    ]


def test_export_names_what_there_is(home):
    finish(make(), home)
    arguments = [
        "export",
        "tiny",
        "--method",
        "hintn",
        "--pair",
        "a->b",
        "--fraction",
        "0.5",
        "--format",
        "onx",
    ]
    ended = runner.invoke(app, [*arguments, "--out", "x"])
    assert ended.exit_code == 2
    said = ended.stderr.splitlines()
    assert [line.split(": ")[1] for line in said] == ["--format", "--method", "--pair", "--fraction"]
    assert "did you mean 'onnx'" in said[0]
    assert "did you mean 'hinton'" in said[1]
    assert "mlp-16x2->mlp-8x2" in said[2]


def test_sync_has_nothing_to_send_where_nothing_is_spooled(home):
    finish(make(), home)
    assert run("sync") == run("sync", "tiny") == run("sync", "tiny.yaml") == "tiny: nothing is left to send\n"


def refused(*arguments: str) -> list[str]:
    """What is said to a user of each mistake; nothing else happens."""
    ended = runner.invoke(app, list(arguments))
    assert (ended.exit_code, ended.stdout) == (2, ""), ended.output
    return ended.stderr.splitlines()


def test_what_only_the_data_show_is_said_beside_what_the_suite_shows(home):
    wrong = """
        methods: [original, hintn]
        seerch: {}
        fractions: [1.0, 0.001]
        data: {omit_classes: [17]}
    """
    Path("file").touch()
    Path("wrong.yaml").write_text(TEXT.replace("methods: [original, hinton]", textwrap.dedent(wrong)))
    more = ("--set", "search.trials=0", "--set", "storage=file/below")
    said = refused("launch", "wrong.yaml", *more)
    keys = [line.removeprefix("kdbench: wrong.yaml: ").partition(": given")[0] for line in said]
    assert set(keys) == {
        "methods.1.method",
        "seerch",
        "fractions",
        "data.omit_classes",
        "kdbench: --set search.trials=0: search.trials",
        "storage",
    }
    assert [item.name for item in home.root.iterdir()] == ["datasets"]  # what the data are like is noted


def test_missing_data_are_said_beside_faulty_pairs_and_methods(home):
    wrong = TEXT.replace("student: mlp-8x2", "student: mlp").replace("[original, hinton]", "[nosuch]")
    Path("wrong.yaml").write_text(wrong.replace("digits", "{folder: nowhere, name: mine}"))
    said = refused("launch", "wrong.yaml")
    keys = [line.removeprefix("kdbench: wrong.yaml: ").partition(": given")[0] for line in said]
    assert set(keys) == {"pairs.0.student", "methods.0.method", "dataset"}


def test_a_missing_configuration_hides_no_other_mistake(home):
    words = ("train", "hinton", "--dataset", "digits", "--student", "mlp-8x2", "--teacher", "mlp-16x2")
    said = refused(*words, "--config", "none.yaml", "--set", "temperature=-1", "--set", "x", "--epochs", "0")
    assert len(said) == 4
    assert all(any(key in line for line in said) for key in ("none.yaml", "temperature", "--set", "epochs"))


def test_what_this_machine_lacks_is_not_waited_for(home, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = refused("launch", "tiny.yaml", "--set", "resources.cpu=9999", "--set", "resources.gpu=99")
    assert [line.split(": ")[2] for line in said] == ["resources.cpu", "resources.gpu"]
    assert "9999.0" in said[0] and "this machine has no more" in said[0]
    assert [item.name for item in home.root.iterdir()] == ["datasets"]


@pytest.mark.parametrize("of", ["KDBENCH_HOME", "storage", "--out"])
def test_a_place_that_cannot_be_written_to_is_said_before_anything_runs(of, monkeypatch):
    Path("file").touch()
    words = {
        "KDBENCH_HOME": ("launch", "tiny.yaml"),
        "storage": ("launch", "tiny.yaml", "--set", "storage=file/below"),
        "--out": ("train", "original", "--dataset", "digits", "--student", "mlp-8x2", "--out", "file"),
    }
    if of == "KDBENCH_HOME":
        monkeypatch.setenv("KDBENCH_HOME", str(Path("file").absolute()))
    (line,) = refused(*words[of])
    assert f"{of}: given" in line and "a folder that can be written to" in line


@pytest.mark.parametrize("address", ["1.2.3.4", ":6379", "host:port", "host:99999"])
def test_an_address_that_is_none(address):
    (line,) = refused("launch", "tiny.yaml", "--address", address)
    assert line.endswith("allowed: auto, or the HOST:PORT of a Ray cluster that runs")


def test_a_huge_batch_is_estimated_as_quickly_as_another(home):
    assert "device time" in run("launch", "tiny.yaml", "--dry-run", "--set", "training.batch_size=1000000")


def test_a_wrong_student_is_one_mistake(home):
    (line,) = refused("train", "original", "--dataset", "digits", "--student", "resnet15")
    assert "--student: given 'resnet15'" in line
    assert line.endswith("did you mean 'resnet18'?")


def test_a_report_needs_a_store(home):
    finish(make(), home)
    ended = runner.invoke(app, ["report", "tiny"])
    assert ended.exit_code == 2
    assert "launch a suite first" in ended.stderr
    assert not Path("reports").exists()
