"""`kdbench report`, `ui`, `export`, `sync`: what is made of results."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import typer

from kdbench import home, plan, tracking
from kdbench.cli.planning import launched, launches
from kdbench.cli.words import counted
from kdbench.errors import UserError, mistake
from kdbench.home import Home
from kdbench.tracking.exports import Format

_FORMATS = get_args(Format)
REPORTS = Path("reports")


def tell(name: str, uri: str, state: Home, *, make: bool) -> Path:
    """Say where a suite's report is, made anew if wanted or not there, and how to open MLflow."""
    page = REPORTS / name / "index.html"
    if make or not page.exists():
        from kdbench import report as reports

        page = reports.make([name], uri=uri, out=page.parent, launch=state.launch(name))
    typer.echo(f"Report: {page.absolute()}")
    typer.echo(f"MLflow: kdbench ui  ({tracking.masked(uri)})")
    return page


def report(
    names: Sequence[str], out: Path | None, option: str | None, runs: Path | None, *, figures: bool
) -> None:
    """Write the report of one or several suites; of other machines' launches too, where the URI has them.

    With `runs`, a report's runs.parquet, that report is made again and nothing else may be given.
    """
    from kdbench import report as reports

    if runs is None:
        if not names:
            raise UserError([mistake("SUITE", None, "one launched suite or several, or --runs FILE")])
        suites, uri = _stored(names, option)
        page = reports.make(suites, uri=uri, out=out or REPORTS / "+".join(suites), files=figures)
    else:
        given = {"SUITE": " ".join(names), "--tracking-uri": option}
        mistakes = [mistake(key, value, "nothing beside --runs") for key, value in given.items() if value]
        if mistakes:
            raise UserError(mistakes)
        page = reports.remake(runs, out=out, files=figures)
    typer.echo(f"Report: {page.absolute()}")


def _stored(names: Sequence[str], option: str | None) -> tuple[list[str], str]:
    """The suites' names, and the tracking URI that has them."""
    state = home.home()
    known = launches(state)
    suites = [launched(name, state) if name in known or option is None else name for name in names]
    return suites, tracking.resolve(option, _tracking_of(suites, state), state)


def ui(option: str | None, port: int | None) -> int:
    """Serve MLflow's page until interrupted."""
    state = home.home()
    return tracking.ui(tracking.resolve(option, None, state), home=state, port=port)


def export(
    name: str, label: str, pair: str | None, fraction: float | None, form: str, out: Path, option: str | None
) -> None:
    """Write a kept student as a file. Raises UserError for an unknown format, method, pair or fraction."""
    state = home.home()
    planned = plan.read(state.launch(launched(name, state)))
    suite = planned.suite
    labels = [entry.label for entry in suite.methods]
    pairs = [item.title for item in suite.pairs]
    mistakes = []
    if form not in _FORMATS:
        mistakes.append(mistake("--format", form, " | ".join(_FORMATS), names=_FORMATS))
    if label not in labels:
        mistakes.append(mistake("--method", label, f"one of {', '.join(labels)}", names=labels))
    if pair is None and len(pairs) > 1 or pair is not None and pair not in pairs:
        mistakes.append(mistake("--pair", pair, f"one of {', '.join(pairs)}", names=pairs))
    if fraction is not None and fraction not in suite.fractions:
        mistakes.append(mistake("--fraction", fraction, f"one of {', '.join(map(str, suite.fractions))}"))
    if mistakes:
        raise UserError(mistakes)
    written = tracking.export(
        suite.name,
        uri=tracking.resolve(option, suite.tracking, state),
        label=label,
        pair=pair or pairs[0],
        fraction=fraction or max(suite.fractions),
        format=cast(Format, form),
        out=out,
    )
    typer.echo(f"Student: {written.absolute()}")


def sync(names: Sequence[str], option: str | None) -> int:
    """Send what is spooled; exit code 1 where something is left."""
    state = home.home()
    left = 0
    for name in [launched(name, state) for name in names] or launches(state):
        uri = tracking.resolve(option, _tracking_of([name], state), state)
        waiting = tracking.sync(name, uri=uri, home=state)
        typer.echo(
            f"{name}: " + (f"{counted(waiting, 'message')} left" if waiting else "nothing is left to send")
        )
        left += waiting
    return 1 if left else 0


def _tracking_of(names: Sequence[str], state: Home) -> str | None:
    """The `tracking:` of the first of these suites that was launched here."""
    for name in names:
        if name in launches(state):
            return plan.read(state.launch(name)).suite.tracking
    return None
