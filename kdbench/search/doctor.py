"""Whether this machine, and a cluster, can run a launch: a list of checks for `kdbench doctor` to print."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from packaging.requirements import Requirement

import kdbench
from kdbench import tracking
from kdbench.errors import UserError
from kdbench.home import Home
from kdbench.search import cluster
from kdbench.search.store import folder_of, is_remote

LITTLE_DISK, NO_DISK = 5e9, 5e8  # bytes free: kept students may fill it; not even a short launch fits
MUCH_SKEW_S = 5.0  # start and end times come from several clocks
_ANSWER_S = 60  # seconds that a node may take to answer, the start of a worker included
_SHOWN = ("torch", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str


def examine(
    *, home: Home, uri: str, address: str | None = None, storage: str | None = None
) -> Iterator[Check]:
    """Look at this machine, the tracking store and, with `address`, every node of that cluster; one by one.

    `storage` is a suite's: what launches on several machines share. None: the state directory.
    """
    yield _versions()
    yield _devices()
    yield _folder("state", home.root)
    yield _data()
    yield _tracking(uri)
    shared = str(home.root)
    if storage is not None:
        shared = storage if is_remote(storage) else str(folder_of(storage))
        yield _object_store(shared) if is_remote(shared) else _folder("storage", Path(shared))
    if address is not None:
        yield from _cluster(address, shared)


def _versions() -> Check:
    """Every requirement of kdbench against what is installed."""
    wrong = []
    for line in importlib.metadata.requires("kdbench") or ():
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            there = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            there = "nothing"
        if there == "nothing" or not need.specifier.contains(there, prereleases=True):
            wrong.append(f"{need.name}: {there} instead of {need.specifier or 'any'}")
    return Check("versions", "fail" if wrong else "ok", "; ".join([_installed(), *wrong]))


def _installed() -> str:
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN)
    return f"kdbench {kdbench.__version__}, Python {platform.python_version()}, {packages}"


def _devices() -> Check:
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found = f"{os.cpu_count()} CPU cores, {', '.join(gpus) or 'no GPU'}, on {socket.gethostname()}"
    return Check("devices", "ok", found)


def _data() -> Check:
    folder = Path(os.environ.get("KDBENCH_DATA") or Path.home() / ".cache" / "kdbench")
    return Check("data", "ok", f"{folder}{'' if folder.exists() else ', which is not there yet'}")


def _folder(what: str, folder: Path) -> Check:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Check(what, "fail", f"{folder} cannot be written: {error.strerror}")
    return _disk(what, f"{folder} can be written", shutil.disk_usage(there).free)


def _disk(what: str, found: str, free: float) -> Check:
    state: Literal["ok", "warn", "fail"] = "ok"
    if free < LITTLE_DISK:
        state = "warn" if free >= NO_DISK else "fail"
    return Check(what, state, f"{found}, {free / 1e9:.1f} GB free")


def _tracking(uri: str) -> Check:
    try:
        tracking.check(uri)
    except UserError as error:
        return Check("MLflow", "fail", f"{tracking.masked(uri)}: {error.mistakes[0].allowed}")
    return Check("MLflow", "ok", f"{tracking.masked(uri)} answers")


def _object_store(storage: str) -> Check:
    try:
        _probe_store(storage)
    except (OSError, UserError) as error:
        return Check("storage", "fail", f"{storage}: {_last_line(error)}")
    return Check("storage", "ok", f"{storage} can be written and read")


def _probe_store(storage: str) -> None:
    """Write, read and remove a file. Raises OSError or UserError where one of them does not work."""
    from kdbench.search.mirror import open_uri

    system, path = open_uri(storage)
    name = f"{path.rstrip('/')}/doctor/{uuid.uuid4().hex}"
    system.create_dir(f"{path.rstrip('/')}/doctor", recursive=True)
    with system.open_output_stream(name) as stream:
        stream.write(b"kdbench")
    with system.open_input_stream(name) as stream:
        if stream.read() != b"kdbench":
            raise OSError("what was read is not what was written")
    system.delete_file(name)


def _cluster(address: str, shared: str) -> Iterator[Check]:
    """The cluster, then every node of it: versions, a clock like ours, the shared state, room on its disk."""
    cluster.prepare()
    import ray

    try:
        cluster.check_address(address)
        with cluster.connected(address), _token(shared) as token:
            total = ray.cluster_resources()
            size = f"{total.get('CPU', 0):g} cores, {total.get('GPU', 0):g} GPUs, {len(ray.nodes())} nodes"
            yield Check("Ray", "ok", f"{address}: {size}")
            for node in ray.nodes():
                if node["Alive"]:
                    yield _ask(node, shared, token)
    except (ConnectionError, RuntimeError, UserError, ValueError) as error:
        yield Check("Ray", "fail", f"{address}: {_last_line(error)}")


@contextlib.contextmanager
def _token(shared: str) -> Iterator[str]:
    """A file in a shared folder that only nodes which share it see; nothing in an object store."""
    if is_remote(shared) or not Path(shared).is_dir():
        yield ""
        return
    with tempfile.NamedTemporaryFile(dir=shared, prefix=".doctor-") as file:
        yield file.name


def _ask(node: dict[str, Any], shared: str, token: str) -> Check:
    """What one node sees; a task of no cores runs there."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    what = f"node {node['NodeManagerHostname']}"
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0)(_look).options(scheduling_strategy=there)
    asked = time.time()
    try:
        seen = ray.get(task.remote(shared, token), timeout=_ANSWER_S)
    except RayError as error:
        return Check(what, "fail", f"does not answer: {_last_line(error)}")
    return _judge(what, seen, max(asked - seen["time"], seen["time"] - time.time(), 0.0))


def _judge(what: str, seen: dict[str, Any], skew: float) -> Check:
    """What a node's answer means; its clock is off by at least `skew` seconds."""
    faults = [seen["fault"]] if seen["fault"] else []
    faults += [f"it has {seen['installed']}"] if seen["installed"] != _installed() else []
    faults += [f"its clock is off by {skew:.1f} s"] if skew > MUCH_SKEW_S else []
    if faults:
        return Check(what, "fail", "; ".join(faults))
    return _disk(what, f"{seen['devices']}; storage can be written; clock off by {skew:.1f} s", seen["free"])


def _look(shared: str, token: str) -> dict[str, Any]:
    """Runs on a node."""
    return {
        "time": time.time(),
        "installed": _installed(),
        "devices": _devices().found,
        "fault": _reach(shared, token),
        "free": shutil.disk_usage(tempfile.gettempdir()).free,
    }


def _reach(shared: str, token: str) -> str:
    """Why this node cannot use the shared state; "" where it can."""
    if is_remote(shared):
        check = _object_store(shared)
    elif token and not Path(token).exists():
        return f"{shared} is another folder here than on the driver: set storage: to one that all nodes share"
    else:
        check = _folder("storage", Path(shared))
    return check.found if check.state == "fail" else ""


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
