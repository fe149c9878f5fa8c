"""The commands with their options. What they do is imported when they run: `--help` answers at once."""

import signal
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kdbench import __version__
from kdbench.cli.options import AsJson, Sets, SuiteName, TrackingUri, examples
from kdbench.errors import UserError

MISTAKE = 2  # exit code of a user's mistake


class _Commands(TyperGroup):
    """Answers a user's mistakes, whichever command finds them, with a line each and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            for mistake in error.mistakes:
                typer.echo(f"kdbench: {mistake}", err=True)
            raise typer.Exit(MISTAKE) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: it is read in logs and pipes too, and needs no import of rich
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The `kdbench` command: SIGTERM ends it like an interrupt, but with exit code 143."""
    signal.signal(signal.SIGTERM, _terminated)
    # torch warns whoever has NVIDIA's old package installed; a user of kdbench can do nothing about it.
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated", category=FutureWarning)
    app()


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kdbench {__version__}")
        raise typer.Exit


@app.callback(epilog=examples("kdbench launch quickstart"))
def kdbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Which distillation method gives the best student for your data, how sure is it, what did it cost?"""


@app.command(
    epilog=examples(
        "kdbench launch quickstart",
        "kdbench launch suites/mine.yaml --dry-run",
        "kdbench launch cluster --address auto --set search.trials=64 --set resources.gpu=0.25",
    )
)
def launch(
    suite: SuiteName,
    sets: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what it costs; run nothing.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to run on; auto finds it. [default: here]")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Run a whole suite: teachers, search, final runs, report. After a crash the same command finishes it."""
    from kdbench.cli import launching

    raise typer.Exit(
        launching.launch(suite, sets or [], dry_run=dry_run, address=address, option=tracking_uri)
    )


@app.command(epilog=examples("kdbench status quickstart"))
def status(suite: SuiteName) -> None:
    """What of a launched suite is done, running, failed and left."""
    from kdbench.cli import showing

    showing.status(suite)


@app.command(
    epilog=examples(
        "kdbench report quickstart",
        "kdbench report mnist-hinton cifar10-bss --out comparison",
        "kdbench report quickstart --tracking-uri http://mlflow.example.org:5000",
        "kdbench report --runs reports/quickstart/runs.parquet --out again",
    )
)
def report(
    suites: Annotated[
        list[str] | None, typer.Argument(metavar="SUITE...", help="Launched suites, by name or file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write into. [default: reports/SUITE]")] = None,
    tracking_uri: TrackingUri = None,
    runs: Annotated[
        Path | None, typer.Option(help="Make a report once more from its runs.parquet, without MLflow.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Every figure also as a file, SVG and PDF.")] = True,
) -> None:
    """Compare what launches found, from their MLflow runs alone."""
    from kdbench.cli import results

    results.report(suites or [], out, tracking_uri, runs, figures=figures)


@app.command(epilog=examples("kdbench ui"))
def ui(
    tracking_uri: TrackingUri = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="[default: a free one]")] = None,
) -> None:
    """Open MLflow's page on this project's runs."""
    from kdbench.cli import results

    raise typer.Exit(results.ui(tracking_uri, port))


@app.command(
    epilog=examples(
        "kdbench train original --dataset digits --student resnet8w4",
        "kdbench train bss --dataset digits --teacher resnet14 --student resnet8w4 --set step_size=0.3",
        "kdbench train at --dataset digits --teacher resnet14 --student resnet8w4 --config at.yaml --test",
    )
)
def train(  # noqa: PLR0913 - one argument per option
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method, or a composition a+b.")],
    dataset: Annotated[
        str, typer.Option(help="A built-in data set, or a parquet or image folder as a mapping.")
    ],
    student: Annotated[str, typer.Option(help="The student's model.")],
    teacher: Annotated[
        str | None, typer.Option(help="The teacher's model; not needed where none is distilled.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter or a training key. Repeatable."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of such keys, from a report or a training.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The teacher's safetensors. [default: train it]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: 30]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 128]")] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training data, in (0, 1].")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the split and the training.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda. [default: cuda where there is one]")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; results depend on it.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Folder for result.json, student.safetensors and config.yaml.")
    ] = Path("student"),
    test: Annotated[
        bool, typer.Option("--test", help="Evaluate on the test split; else validation only.")
    ] = False,
) -> None:
    """Train one student, without Ray and MLflow."""
    from kdbench.cli import training

    wish = training.Wish(
        method, dataset, student, teacher, sets or [], config, weights, epochs, batch_size, fraction, seed
    )
    raise typer.Exit(training.train(wish, device=device, threads=threads, out=out, test=test))


@app.command(epilog=examples("kdbench export quickstart --method bss --format onnx --out student"))
def export(
    suite: SuiteName,
    method: Annotated[str, typer.Option(help="The method's label in the report.")],
    out: Annotated[Path, typer.Option(help="File to write; the ending is added.")],
    pair: Annotated[str | None, typer.Option(metavar="A->B", help="[default: the suite's only pair]")] = None,
    fraction: Annotated[float | None, typer.Option(help="[default: the largest]")] = None,
    format: Annotated[str, typer.Option(help="pt2, onnx or safetensors.")] = "pt2",
    tracking_uri: TrackingUri = None,
) -> None:
    """Write the best student of a method as a file for other programs."""
    from kdbench.cli import results

    results.export(suite, method, pair, fraction, format, out, tracking_uri)


@app.command("list", epilog=examples("kdbench list methods", "kdbench list spaces --json"))
def list_(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="methods, spaces, datasets, models or suites.")],
    json: AsJson = False,
) -> None:
    """What there is: methods, search spaces, data sets, models, suites."""
    from kdbench.cli import lists

    lists.show(what, as_json=json)


@app.command(epilog=examples("kdbench doctor", "kdbench doctor --address auto --storage s3://bucket/kdbench"))
def doctor(
    address: Annotated[str | None, typer.Option(help="Ray cluster to look at; auto finds it.")] = None,
    tracking_uri: TrackingUri = None,
    storage: Annotated[
        str | None, typer.Option(help="A suite's storage:, the folder or URI that all nodes share.")
    ] = None,
) -> None:
    """Whether this machine, and a cluster, can run a launch."""
    from kdbench.cli import examining

    raise typer.Exit(examining.doctor(address, tracking_uri, storage))


@app.command(epilog=examples("kdbench sync quickstart"))
def sync(
    suites: Annotated[
        list[str] | None, typer.Argument(metavar="[SUITE...]", help="[default: all launched]")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Send to MLflow what launches spooled while it was away."""
    from kdbench.cli import results

    raise typer.Exit(results.sync(suites or [], tracking_uri))


@app.command(epilog=examples("kdbench clean --dry-run", "kdbench clean --yes"))
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove results and weights that no launched suite plans any more."""
    from kdbench.cli import cleaning

    raise typer.Exit(cleaning.clean(dry_run=dry_run, yes=yes))
