"""`kdbench doctor`: whether this machine, and a cluster, can run a launch."""

import typer

from kdbench import home, tracking

_SIGNS = {"ok": "ok ", "warn": "?  ", "fail": "BAD"}


def doctor(address: str | None, option: str | None, storage: str | None) -> int:
    """Print every check as it is made. Exit code 1 where one fails; `option` is the tracking URI typed."""
    from kdbench.search.doctor import examine

    state = home.home()
    uri = tracking.resolve(option, None, state)
    failed = False
    for check in examine(home=state, uri=uri, address=address, storage=storage):
        typer.echo(f"{_SIGNS[check.state]}  {check.what:18} {check.found}")
        failed |= check.state == "fail"
    return int(failed)
