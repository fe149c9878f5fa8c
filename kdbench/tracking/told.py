"""A note beside the spool that says what is in MLflow already, so that a finished launch need not ask it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from kdbench.keys import content_key
from kdbench.plan import Run
from kdbench.records import Record, write_atomically
from kdbench.tracking.spool import waiting
from kdbench.tracking.tree import address_of
from kdbench.tracking.uri import sqlite_path

_FILE = "tracked.json"


def settled(launch_folder: Path, uri: str, runs: Iterable[tuple[Run, Record]]) -> bool:
    """Whether exactly these results are in this store and nothing is spooled. Reads files, asks no MLflow."""
    database = sqlite_path(uri)
    if (database is not None and not database.exists()) or waiting(launch_folder / "spool"):
        return False
    try:
        note = json.loads((launch_folder / _FILE).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return bool(note == _note(uri, ((run, record.state) for run, record in runs)))


def mark(launch_folder: Path, uri: str, runs: Iterable[tuple[Run, str]]) -> None:
    """Note that these runs, each with its state, are in the store at `uri`."""
    write_atomically(launch_folder / _FILE, json.dumps(_note(uri, runs)))


def _note(uri: str, runs: Iterable[tuple[Run, str]]) -> dict[str, str]:
    told = sorted([address_of(run), run.config or "", run.label, state] for run, state in runs)
    return {"store": hashlib.sha256(uri.encode()).hexdigest(), "runs": content_key(told)}
