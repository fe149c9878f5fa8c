"""A tracking store's runs in long form, as they lie there.

SQLite files are read with a few SQL statements, because MLflow's client needs minutes for the histories of
thousands of runs; servers and other databases are read through the client. Both give the same tables, so that
all that follows is the same code.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.errors import UserError, mistake

# Histories that the report draws: over a server each other one would be a request per run for nothing.
HISTORIES = ("val/accuracy", "audit/test_accuracy")
SQLITE = "sqlite:///"
LONG = ("run_id", "key", "value")
RUN = ("run_id", "experiment_id", "suite", "name", "status", "start_time", "end_time", "artifact_uri")
_LARGEST = 1.7e308  # MLflow keeps an infinite value as the largest double
_DEFAULT = "Default"  # an experiment that every store has


@dataclass(frozen=True)
class Tables:
    """Runs in long form."""

    runs: pd.DataFrame  # RUN; times in ms
    tags: pd.DataFrame  # LONG
    params: pd.DataFrame  # LONG
    metrics: pd.DataFrame  # LONG: the last value logged
    histories: pd.DataFrame  # LONG and step, of HISTORIES


def read_tables(suites: Sequence[str], uri: str) -> Tables:
    """All runs of the experiments `suites`. Raises UserError where the store or one of them is not there."""
    tables = read_sqlite(suites, uri) if uri.startswith(SQLITE) else read_client(suites, uri)
    return replace(tables, metrics=_with_infinity(tables.metrics), histories=_with_infinity(tables.histories))


def _require(suites: Sequence[str], known: Iterable[str], uri: str) -> None:
    names = sorted(set(known) - {_DEFAULT})
    absent = [suite for suite in suites if suite not in names]
    if not absent:
        return
    from kdbench.tracking import masked  # imports torch: seconds that only a mistake costs

    allowed = f"an experiment in {masked(uri)}: " + (
        ", ".join(names) or "there is none yet; launch a suite first"
    )
    raise UserError(mistake("suite", suite, allowed, names=names) for suite in absent)


def read_sqlite(suites: Sequence[str], uri: str) -> Tables:
    """The tables by SQL."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not path.is_file():
        raise UserError([mistake("tracking URI", uri, "an MLflow store that exists; launch a suite first")])
    try:
        # Read only; a launch that writes at this moment is waited for.
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=60, uri=True)
        ) as connection:
            return _select(connection, suites, uri)
    except (sqlite3.Error, pd.errors.DatabaseError) as error:
        why = error.__cause__ or error
        raise UserError([mistake("tracking URI", uri, f"a database of MLflow's ({why})")]) from error


def _select(connection: sqlite3.Connection, suites: Sequence[str], uri: str) -> Tables:
    active = connection.execute(
        "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active'"
    )
    numbers: dict[str, int] = dict(active.fetchall())
    _require(suites, numbers, uri)
    names = {numbers[suite]: suite for suite in suites}
    wanted = f"r.experiment_id IN ({', '.join(map(str, names))}) AND r.lifecycle_stage = 'active'"

    def rows(columns: str, rest: str) -> pd.DataFrame:
        return pd.read_sql_query(f"SELECT {columns} FROM {rest}", connection)

    def long(table: str, columns: str = "", only: str = "") -> pd.DataFrame:
        joined = f"{table} t JOIN runs r ON r.run_uuid = t.run_uuid WHERE {wanted}{only}"
        return rows(f"t.run_uuid AS run_id, t.key, t.value{columns}", joined)

    runs = rows(
        f"r.run_uuid AS run_id, {', '.join(name for name in RUN if name not in ('run_id', 'suite'))}",
        f"runs r WHERE {wanted}",
    )
    drawn = f" AND t.key IN ({', '.join(map(repr, HISTORIES))})"
    histories = _with_nan(long("metrics", ", t.is_nan, t.timestamp, t.step", drawn))
    histories = histories.sort_values(["run_id", "key", "step", "timestamp"])
    histories = histories.drop_duplicates(["run_id", "key", "step"], keep="last")
    return Tables(
        runs.assign(suite=runs["experiment_id"].map(names), experiment_id=runs["experiment_id"].astype(str)),
        long("tags"),
        long("params"),
        _with_nan(long("latest_metrics", ", t.is_nan"))[list(LONG)],
        histories[[*LONG, "step"]],
    )


def _with_nan(metrics: pd.DataFrame) -> pd.DataFrame:
    """A database holds NaN as 0 with a mark."""
    return metrics.assign(value=metrics["value"].astype(float).mask(metrics["is_nan"].astype(bool)))


def _with_infinity(metrics: pd.DataFrame) -> pd.DataFrame:
    value = metrics["value"].astype(float)
    return metrics.assign(value=value.mask(value > _LARGEST, math.inf).mask(value < -_LARGEST, -math.inf))


def read_client(suites: Sequence[str], uri: str) -> Tables:
    """The tables through MLflow's client."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from kdbench.tracking import check, masked

    check(uri)  # answers within seconds; the client would try for minutes
    try:
        client = MlflowClient(tracking_uri=uri)
        numbers = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    except MlflowException as error:
        allowed = f"an MLflow server that answers ({str(error.message).splitlines()[0]})"
        raise UserError([mistake("tracking URI", masked(uri), allowed)]) from error
    _require(suites, numbers, uri)
    found = [(suite, run) for suite in suites for run in _pages(client, numbers[suite])]
    infos = [
        (i.run_id, i.experiment_id, suite, i.run_name, i.status, i.start_time, i.end_time, i.artifact_uri)
        for suite, i in ((suite, run.info) for suite, run in found)
    ]
    data = [(run.info.run_id, run.data) for _, run in found]
    return Tables(
        pd.DataFrame(infos, columns=list(RUN)),
        _long((run, parts.tags) for run, parts in data),
        _long((run, parts.params) for run, parts in data),
        _long((run, parts.metrics) for run, parts in data),
        _histories(client, [(run, key) for run, parts in data for key in HISTORIES if key in parts.metrics]),
    )


def _pages(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _long(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    rows = [(run, key, value) for run, values in runs for key, value in values.items()]
    return pd.DataFrame(rows, columns=list(LONG))


def _histories(client: Any, asked: Sequence[tuple[str, str]]) -> pd.DataFrame:
    with ThreadPoolExecutor(8) as pool:  # many small requests: waiting, not work
        answers = list(pool.map(lambda pair: client.get_metric_history(*pair), asked))
    values = {
        (run, key, point.step): point.value
        for (run, key), points in zip(asked, answers, strict=True)
        for point in sorted(points, key=lambda point: (point.step, point.timestamp))
    }
    rows = [(run, key, value, step) for (run, key, step), value in values.items()]
    return pd.DataFrame(rows, columns=[*LONG, "step"])
