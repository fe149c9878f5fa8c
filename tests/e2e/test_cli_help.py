"""`kdbench --help` answers at once, and every command explains itself with an example that is no lie."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from kdbench import __version__
from kdbench.cli import app

COMMANDS = ["launch", "status", "report", "ui", "train", "export", "list", "doctor", "sync", "clean"]
HEAVY = [
    "torch",
    "ray",
    "mlflow",
    "optuna",
    "pandas",
    "numpy",
    "yaml",
    "rich",
    "sklearn",
    "pyarrow",
]
GROUP = typer.main.get_command(app)

runner = CliRunner()


def modules_after(program: str) -> set[str]:
    """Top-level names of what a fresh interpreter has imported at the end of `program`."""
    tell = "\nimport json; print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}{tell}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["launch", "--help"], ["train", "--help"]])
def test_help_imports_nothing_but_typer(arguments):
    bare = (
        "import typer\nfrom typing import Annotated\napp = typer.Typer(rich_markup_mode=None)\n"
        "@app.command()\ndef one(name: Annotated[str, typer.Argument(help='x')]): ...\n"
        "@app.command()\ndef other(name: Annotated[str, typer.Argument(help='x')]): ...\n"
    )
    same = ["--help"] if arguments[0].startswith("--") else ["one", "--help"]
    typers = modules_after(f"{bare}app({same!r}, standalone_mode=False)")
    ours = modules_after(f"from kdbench.cli import app\napp({arguments!r}, standalone_mode=False)")
    # What kdbench adds to a bare typer app is itself and parts of the standard library: so fast is it.
    assert ours - typers - set(sys.stdlib_module_names) == {"kdbench"}
    assert not ours & set(HEAVY)
    if same == ["--help"]:  # of a command with parameters typer imports it itself
        assert "pydantic" not in ours


def test_every_command_is_there():
    assert sorted(GROUP.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    shown = runner.invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    examples = shown.output.partition("Examples:")[2].strip().splitlines()
    assert examples
    assert all(line.strip().startswith(f"kdbench {command}") for line in examples)


def example_lines() -> list[str]:
    shown = [runner.invoke(app, [command, "--help"]).output for command in COMMANDS]
    return [line.strip() for text in shown for line in text.partition("Examples:")[2].strip().splitlines()]


@pytest.mark.parametrize("line", example_lines())
def test_every_example_parses(line):
    _, name, *arguments = shlex.split(line)
    command = GROUP.commands[name]
    context = command.make_context(name, list(arguments), resilient_parsing=False)
    assert context.params


def test_every_option_says_what_it_is():
    for command in GROUP.commands.values():
        for parameter in command.params:
            assert getattr(parameter, "help", None), (command.name, parameter.name)


def test_no_command_shows_help():
    shown = runner.invoke(app, [])
    assert "Commands:" in shown.output


def test_the_version():
    assert runner.invoke(app, ["--version"]).output == f"kdbench {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_an_unknown_command_is_named_with_the_nearest():
    shown = runner.invoke(app, ["lunch"])
    assert shown.exit_code == 2
    assert "launch" in shown.output
