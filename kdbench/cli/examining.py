"""`kdbench doctor`: whether this machine, and a cluster, can run a launch."""

import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import typer

from kdbench import __version__, home, tracking
from kdbench.cli.planning import check_address
from kdbench.cli.words import size
from kdbench.errors import UserError
from kdbench.home import Home

_PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy")
_LEAST_FREE = 5e9  # bytes: below that a launch with kept students may fill the disk
_MOST_SKEW_S = 5.0  # start and end times in MLflow come from several clocks


class _Findings:
    """Prints what is found and counts what is wrong."""

    def __init__(self) -> None:
        self.faults = 0

    def tell(self, what: str, found: str, *, good: bool = True) -> None:
        """One line; `good` false where a launch would suffer."""
        self.faults += not good
        typer.echo(f"{'ok ' if good else 'BAD'}  {what:18} {found}")


def doctor(address: str | None, option: str | None) -> int:
    """Look at this machine, the store and, with `address`, every node. Exit code 1 where one is at fault."""
    state, findings = home.home(), _Findings()
    uri = tracking.resolve(option, None, state)
    findings.tell("versions", f"kdbench {__version__}, Python {platform.python_version()}, {_versions()}")
    _devices(findings)
    _folder(findings, "state", state.root)
    data = Path(os.environ.get("KDBENCH_DATA") or Path.home() / ".cache" / "kdbench")
    findings.tell("data", f"{data}{'' if data.exists() else ', which is not there yet'}")
    try:
        tracking.check(uri)
        findings.tell("MLflow", tracking.masked(uri))
    except UserError as error:
        findings.tell("MLflow", f"{tracking.masked(uri)}: {error.mistakes[0].allowed}", good=False)
    if address is not None:
        _cluster(findings, address, state)
    return 1 if findings.faults else 0


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)


def _devices(findings: _Findings) -> None:
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    there = ", ".join(gpus) or "no GPU"
    findings.tell("devices", f"{os.cpu_count()} CPU cores, {there}, on {socket.gethostname()}")


def _folder(findings: _Findings, what: str, folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    fault = _unwritable(there)
    free = shutil.disk_usage(there).free
    findings.tell(
        what,
        f"{folder}{fault or ' can be written'}, {size(free)} free",
        good=not fault and free > _LEAST_FREE,
    )


def _unwritable(folder: Path) -> str:
    """Why nothing can be written there; empty where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f" cannot be written: {error.strerror}"


def _cluster(findings: _Findings, address: str, state: Home) -> None:
    """Every node: the same versions, a clock like ours, and the state directory in reach."""
    from kdbench.search import cluster

    cluster.prepare()
    import ray

    try:
        check_address(address)
        with cluster.connected(address):
            for node, seen, asked, answered in _ask_nodes(ray, str(state.root)):
                skew = max(asked - seen["time"], seen["time"] - answered, 0.0)
                good = not seen["fault"] and skew < _MOST_SKEW_S and seen["versions"] == _versions()
                where = seen["fault"] or " can be written"
                said = f"{seen['versions']}; clock off by {skew:.1f} s; state{where}"
                findings.tell(f"node {node}", said, good=good)
    except (ConnectionError, RuntimeError, UserError, ValueError) as error:
        findings.tell("Ray", f"{address}: {str(error).strip().splitlines()[-1]}", good=False)


def _ask_nodes(ray: Any, folder: str) -> Iterator[tuple[str, dict[str, Any], float, float]]:
    """Of every node alive: its name, what it sees, and when it was asked and had answered (seconds)."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look: Callable[..., Any] = ray.remote(num_cpus=0)(_look).options
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = time.time()
            seen = ray.get(look(scheduling_strategy=there).remote(folder), timeout=60)
            yield node["NodeManagerHostname"], seen, asked, time.time()


def _look(folder: str) -> dict[str, Any]:
    """Runs on a node."""
    path = Path(folder)
    fault = _unwritable(path) if path.exists() else f" {folder} is not there: set storage: to a shared folder"
    return {"time": time.time(), "versions": _versions(), "fault": fault}
