"""`kdbench clean`: remove what no launched suite plans any more."""

import shutil
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import typer

from kdbench import home, plan
from kdbench.cli.planning import launches
from kdbench.cli.words import counted, size
from kdbench.errors import Mistake, UserError
from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.search.finals import Finals
from kdbench.search.inventory import inventory
from kdbench.search.ledger import Ledger, read
from kdbench.search.locks import only_launch


def clean(*, dry_run: bool, yes: bool) -> int:
    """List and, unless `dry_run`, remove results, teachers, students and checkpoints without a plan.

    What `storage:` holds is left alone: other machines' launches may plan it. Returns the exit code.
    """
    state = home.home()
    with ExitStack() as held:
        if not dry_run:
            for name in launches(state):
                held.enter_context(only_launch(state.launch(name), name))
        waste = _waste(state)
        if not waste:
            typer.echo(f"Nothing to remove in {state.root}.")
            return 0
        total = _list(waste, state)
        if dry_run:
            return 0
        if not yes and not typer.confirm(f"Remove these {size(total)}?"):
            return 1
        for path in (path for paths in waste.values() for path in paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    typer.echo(f"Removed {size(total)}.")
    return 0


def planned_keys(planned: Plan, state: Home) -> set[str]:
    """Keys of all work that a plan refers to; of unfinished studies, the finals of the best trial so far."""
    ledger = Ledger(planned, read(state.results))
    finals = Finals(planned)
    for key, trials in ledger.studies.items():
        if trials.best is not None:
            finals.settle(key, trials.best)
    beyond_budget = {trial.key for trials in ledger.studies.values() for trial in trials.trials.values()}
    return set(inventory(planned, ledger, finals)) | beyond_budget


def _waste(state: Home) -> dict[Path, list[Path]]:
    """Folder -> what in it belongs to no plan."""
    wanted: set[str] = set()
    for name in launches(state):
        try:
            wanted |= planned_keys(plan.read(state.launch(name)), state)
        except ValueError as error:
            allowed = "a plan that this kdbench can read; launch its suite again, or remove its folder"
            raise UserError([Mistake("clean", str(error).splitlines()[0], allowed)]) from error
    found = defaultdict(list)
    for folder in (state.results, state.teachers, state.students, state.checkpoints):
        for path in sorted(folder.glob("*")):
            if not path.name.startswith(".") and path.name.partition(".")[0] not in wanted:
                found[folder].append(path)
    return found


def _list(waste: dict[Path, list[Path]], state: Home) -> int:
    """Print what there is of each kind; returns the bytes of all."""
    total = 0
    for folder, paths in waste.items():
        bytes_here = sum(_bytes(path) for path in paths)
        total += bytes_here
        typer.echo(f"{folder.relative_to(state.root)}: {counted(len(paths), 'file')}, {size(bytes_here)}")
        for path in paths:
            typer.echo(f"  {path.name}  {size(_bytes(path))}")
    return total


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
