"""`kdbench launch`: from a suite to its report."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import typer
from rich.console import Console

from kdbench import home, plan, search, tracking
from kdbench.cli import costs, results
from kdbench.cli.planning import prepare
from kdbench.cli.progress import board, outcome
from kdbench.cli.words import counted
from kdbench.errors import Mistake, UserError, mistake
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.search.locks import only_launch
from kdbench.search.progress import Summary
from kdbench.search.store import folder_of, is_remote
from kdbench.suite import Suite
from kdbench.tracking.tracker import Outcome

_MOST_LINES = 20  # of missing runs: a whole cluster's would hide the rest


def launch(name: str, sets: Sequence[str], *, dry_run: bool, address: str | None, option: str | None) -> int:
    """Do what of a suite is not done yet, and report. Returns the exit code; `option` is the URI typed."""
    state = home.home()
    if dry_run:
        costs.show(prepare(name, sets, address), state, address)
        return 0
    here = not (address or os.environ.get("RAY_ADDRESS"))
    planned = prepare(name, sets, address, lambda suite: _obstacles(suite, state, here=here)).plan
    suite = planned.suite
    uri = tracking.resolve(option, suite.tracking, state)
    folder = state.launch(suite.name)
    for line in changes(folder, planned):
        typer.echo(line)
    known = search.status(planned, state)
    if known.done and tracking.settled(folder, uri, search.recorded_runs(planned, state)):
        typer.echo(f"{suite.name}: everything is done: {outcome(known.counts)}.")
        results.tell(suite.name, uri, state, make=False)
        return 0
    tracking.check(uri)
    with only_launch(folder, suite.name):
        plan.write(planned, folder)
        summary, spooled = _run(planned, state, uri, folder, address)
    for line in _ending(summary, spooled, suite.name):
        typer.echo(line)
    return max(summary.exit_code, 1 if spooled else 0)


def _obstacles(suite: Suite, state: Home, *, here: bool) -> Iterator[Mistake]:
    """What keeps a suite from being launched: places where nothing can be kept, and `here`, on a Ray of this
    machine's, runs that want more than it has, which would wait for ever.
    """
    places = {"KDBENCH_HOME": state.root}
    if suite.storage is not None and not is_remote(suite.storage):
        places["storage"] = folder_of(suite.storage)
    yield from home.unusable(places)
    there = {"cpu": os.cpu_count() or 1, "gpu": torch.cuda.device_count()}
    wanted = suite.resources.model_dump() if here and suite.resources != "auto" else {}
    for name, amount in wanted.items():
        if amount > there[name]:
            allowed = f"at most {there[name]}, for this machine has no more; or a cluster: --address"
            yield mistake(f"resources.{name}", amount, allowed)


def _run(planned: Plan, state: Home, uri: str, folder: Path, address: str | None) -> tuple[Summary, int]:
    """The launch and its report; returns how it ended and how much did not reach MLflow."""
    tracker = tracking.Tracker(planned, uri=uri, home=state, launch_folder=folder)
    ended: Outcome = "interrupted"
    try:
        with board(Console()) as progress:
            summary = search.launch(planned, home=state, tracker=tracker, address=address, progress=progress)
        if not (summary.interrupted or summary.broken):
            ended = "failed" if summary.missing else "finished"
            if not tracker.flush():
                page = results.tell(planned.suite.name, uri, state, make=True)
                tracker.log_report(page.parent)
    except ConnectionError as error:
        if address is None:
            raise
        raise UserError([Mistake("--address", repr(address), f"a Ray cluster that runs; {error}")]) from error
    finally:
        spooled = tracker.close(ended)
    return summary, spooled


def changes(folder: Path, planned: Plan) -> list[str]:
    """What the suite's last launch leaves to reuse, where the suite has changed since."""
    try:
        return plan.changes(plan.read(folder), planned)
    except FileNotFoundError:
        return []
    except ValueError:
        return ["the last launch was by another version of kdbench: results are reused by their keys"]


def _ending(summary: Summary, spooled: int, name: str) -> Iterator[str]:
    yield f"{name}: {outcome(summary.counts)}."
    yield from (f"missing: {line}" for line in summary.missing[:_MOST_LINES])
    if len(summary.missing) > _MOST_LINES:
        yield f"missing: {len(summary.missing) - _MOST_LINES} more; see `kdbench status {name}`"
    if summary.utilisation is not None:
        yield f"The slots were busy {100 * summary.utilisation:.0f} % of the time."
    if spooled:
        yield f"{counted(spooled, 'message')} did not reach MLflow yet; to send them: kdbench sync {name}"
    if summary.broken:
        yield f"The launch cannot go on: {summary.broken}"
        yield f"Nothing is lost. When that works again: {shlex.join(['kdbench', *sys.argv[1:]])}"
    elif summary.interrupted:
        yield f"Interrupted. To go on where it stopped: {shlex.join(['kdbench', *sys.argv[1:]])}"
    elif summary.missing:
        yield f"To run what is missing: {shlex.join(['kdbench', *sys.argv[1:]])}"
