"""The search: runs a whole plan in one Ray Tune run, over Optuna, from records and into records."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdbench.home import Home
    from kdbench.plan import Plan, Run
    from kdbench.records import Record
    from kdbench.search.progress import Progress, Status, Summary, Tracker

# Nothing is imported here: `kdbench.plan` needs this room's Domain, and the room needs plans.


def launch(
    plan: "Plan",
    *,
    home: "Home",
    tracker: "Tracker",
    address: str | None = None,
    progress: "Progress | None" = None,
    execute: str = "kdbench.training:execute",
) -> "Summary":
    """Do what is missing of `plan` and repeat nothing.

    Records, teachers and students lie in `home`, or under the suite's `storage:` where that is set. `tracker`
    is told of every run; closing it is the caller's, and so is holding `locks.only_launch` meanwhile.
    `address` is that of a Ray cluster; None: `$RAY_ADDRESS`, else a Ray of this machine for this launch
    alone. `progress` is told how it goes. `execute` is the function that trains, as "module:function",
    importable in workers; see `kdbench.training.execute`.

    Returns what there is at the end, also after SIGINT and SIGTERM; `Summary.exit_code` is the command's. Ray
    and Optuna are imported only if something is to do.
    """
    from kdbench.search import driver
    from kdbench.search.progress import Silent

    return driver.launch(
        plan, home=home, tracker=tracker, address=address, progress=progress or Silent(), execute=execute
    )


def status(plan: "Plan", home: "Home") -> "Status":
    """What is done, running, failed and left of `plan` in `home`; reads records only."""
    from kdbench.search.standing import status as of_records

    return of_records(plan, home)


def recorded_runs(plan: "Plan", home: "Home") -> "list[tuple[Run, Record]]":
    """Every planned run that has a record in `home`, with it, once for each pair that plans it."""
    from kdbench.search.standing import recorded_runs as of_records

    return of_records(plan, home)
