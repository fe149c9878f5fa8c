"""Options that several commands share."""

from typing import Annotated

import typer

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or the name of a built-in suite.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Lay a value over the suite: search.trials=64. Repeatable."
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="MLflow's tracking URI. [default: the suite's, $MLFLOW_TRACKING_URI, ours]"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def examples(*lines: str) -> str:
    """Example command lines for the end of a command's help, kept as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
