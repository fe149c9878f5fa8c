"""`kdbench status`: how far a launch is, from its plan and the records."""

import typer

from kdbench import home, plan, search
from kdbench.cli.planning import launched
from kdbench.cli.progress import headline
from kdbench.plan import percent

_MOST_MISSING = 20


def status(name: str) -> None:
    """Print what of a launched suite is done, running, failed and left."""
    state = home.home()
    planned = plan.read(state.launch(launched(name, state)))
    known = search.status(planned, state)
    typer.echo(f"{planned.suite.name}: {headline(known.counts)}")
    for study in known.studies:
        states = ", ".join(f"{number} {word}" for word, number in sorted(study.states.items()))
        best = "" if study.best is None else f"; best {100 * study.best:.2f} % on validation"
        done = sum(number for word, number in study.states.items() if word != "running")
        where = f"{study.label} · {study.pair} · {percent(study.fraction)}"
        typer.echo(f"  {where}: {done} of {study.trials} trials{f' ({states})' if states else ''}{best}")
    if known.done:
        typer.echo("Everything is done.")
        return
    typer.echo(f"{len(known.missing)} final runs have no result:")
    for line in known.missing[:_MOST_MISSING]:
        typer.echo(f"  {line}")
    if len(known.missing) > _MOST_MISSING:
        typer.echo(f"  and {len(known.missing) - _MOST_MISSING} more")
