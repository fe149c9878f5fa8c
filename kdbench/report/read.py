"""MLflow runs -> one tidy frame per suite list: all that the report knows comes through here.

Databases are read with four SQL statements (a page-wise client needs minutes for thousands of histories); servers are
read through MLflow's client. Both give the same long tables, so that everything after them is the same code.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from kdbench.errors import UserError, mistake

if TYPE_CHECKING:
    from kdbench.methods.contract import (
        Scalar,
    )  # its module imports torch: seconds that a report need not wait

PREFIX = "kdbench."
TAGS = (
    "kind suite method pair dataset dataset_hash fraction search_fraction seed trial study key teacher_key config state"
    " reason protocol protocol_label current device commit reused slot model"
).split()
RUN_KINDS = ("trial", "final", "teacher")  # trainings; "study" and "launch" runs only hold others together
# Histories that the report draws: over a server any other would be a request per run for nothing.
HISTORIES = ("val/accuracy", "audit/test_accuracy")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_INFINITY = 1.7e308  # MLflow stores an infinite value as the largest double


@dataclass(frozen=True)
class Tables:
    """A tracking store's runs in long form, as they come."""

    runs: pd.DataFrame  # run_id, experiment_id, suite, name, status, start_time, end_time (ms), artifact_uri
    tags: pd.DataFrame  # run_id, key, value
    params: pd.DataFrame  # run_id, key, value
    metrics: pd.DataFrame  # run_id, key, value: the last one logged
    histories: pd.DataFrame  # run_id, key, step, value


@dataclass(frozen=True)
class Runs:
    """What the report is made from."""

    runs: (
        pd.DataFrame
    )  # one row per run: the columns of Tables.runs, TAGS, `params` (a dict), one column per metric
    epochs: pd.DataFrame  # run_id, metric, epoch, value
    launches: pd.DataFrame  # the launch runs: same columns
    left_out: int  # runs that are in no current plan

    def of(self, kind: str) -> pd.DataFrame:
        """The runs of one kind."""
        return self.runs[self.runs["kind"] == kind]


def read(suites: Sequence[str], uri: str) -> Runs:
    """All runs of these suites (= MLflow experiments) that their latest plans contain.

    Raises UserError for a store or an experiment that is not there, and where one data set's name stands for two
    contents.
    """
    tables = _read_database(suites, uri) if uri.startswith(DATABASES) else _read_client(suites, uri)
    runs = tidy(tables)
    _refuse_mixed_contents(runs.runs)
    return runs


def tidy(tables: Tables) -> Runs:
    """Long tables -> one row per run, typed, current runs only."""
    tags = tables.tags[tables.tags["key"].str.startswith(PREFIX)]
    wide = tags.assign(key=tags["key"].str.removeprefix(PREFIX)).pivot(
        index="run_id", columns="key", values="value"
    )
    wide = wide.reindex(columns=list(TAGS)).drop(columns="suite").astype(object)
    runs = tables.runs.set_index("run_id").join(wide, how="inner")
    for column in ("fraction", "search_fraction", "trial", "slot"):
        runs[column] = pd.to_numeric(runs[column], errors="coerce")
    text = [name for name in TAGS if name in runs and runs[name].dtype == object]
    runs[text] = runs[text].fillna("")
    params = {
        run: dict(zip(rows["key"], map(parse, rows["value"]), strict=True))
        for run, rows in tables.params.groupby("run_id")
    }
    metrics = tables.metrics.pivot(index="run_id", columns="key", values="value")
    runs = runs.join(metrics, how="left").assign(params=[params.get(run, {}) for run in runs.index])
    work = runs["kind"].isin(RUN_KINDS)
    current = work & (runs["current"] == "true")
    epochs = tables.histories.rename(columns={"key": "metric", "step": "epoch"})
    kept = runs[current | (runs["kind"].eq("study") & runs["current"].ne("false"))].reset_index()
    return Runs(
        kept,
        epochs[epochs["run_id"].isin(kept["run_id"])].reset_index(drop=True),
        runs[runs["kind"] == "launch"].reset_index(),
        int(work.sum() - current.sum()),
    )


def parse(text: str) -> "Scalar":
    """A parameter as it was before MLflow made a string of it: an int or a float, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _refuse_mixed_contents(runs: pd.DataFrame) -> None:
    hashes = runs[runs["dataset_hash"] != ""].groupby("dataset")["dataset_hash"].unique()
    mixed = [
        mistake(
            "kdbench.dataset_hash",
            f"{name}: " + ", ".join(value[:8] for value in sorted(values)),
            "one content per data set's name in a report; make one report per content",
        )
        for name, values in hashes.items()
        if len(values) > 1
    ]
    if mixed:
        raise UserError(mixed)


def _missing(suites: Sequence[str], known: Iterable[str], uri: str) -> None:
    known = sorted(known)
    allowed = f"an experiment in {uri}: " + (
        ", ".join(known) if known else "there is none; launch a suite first"
    )
    absent = [mistake("suite", suite, allowed, names=known) for suite in suites if suite not in known]
    if absent:
        raise UserError(absent)


def _read_database(suites: Sequence[str], uri: str) -> Tables:
    engine = sa.create_engine(uri)
    file = engine.url.database
    # SQLite would create a missing file.
    if uri.startswith("sqlite") and not (file and Path(file).exists()):
        raise UserError([mistake("tracking URI", uri, "an MLflow store that exists")])
    try:
        with engine.connect() as connection:
            return _select(connection, suites, uri)
    except (sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.DatabaseError) as error:
        raise UserError([mistake("tracking URI", uri, f"a database of MLflow's ({error.orig})")]) from error
    finally:
        engine.dispose()


def _select(connection: sa.Connection, suites: Sequence[str], uri: str) -> Tables:
    experiments = _table("experiments", "experiment_id", "name", "lifecycle_stage")
    names = dict(
        (name, number)
        for number, name in connection.execute(
            sa.select(experiments.c.experiment_id, experiments.c.name).where(
                experiments.c.lifecycle_stage == "active"
            )
        )
    )
    _missing(suites, names.keys() - {"Default"}, uri)
    numbers = {names[suite]: suite for suite in suites}
    runs = _table(
        "runs",
        "run_uuid",
        "experiment_id",
        "name",
        "status",
        "start_time",
        "end_time",
        "artifact_uri",
        "lifecycle_stage",
    )
    wanted = runs.c.experiment_id.in_(list(numbers)) & (runs.c.lifecycle_stage == "active")

    def frame(query: sa.Select[Any]) -> pd.DataFrame:
        rows = connection.execute(query)
        return pd.DataFrame(rows.fetchall(), columns=list(rows.keys()))

    def long(name: str, *more: str, only: Sequence[str] = ()) -> pd.DataFrame:
        table = _table(name, "run_uuid", "key", "value", *more)
        columns = [
            table.c.run_uuid.label("run_id"),
            table.c.key,
            table.c.value,
            *(table.c[column] for column in more),
        ]
        query = (
            sa.select(*columns)
            .select_from(table.join(runs, table.c.run_uuid == runs.c.run_uuid))
            .where(wanted)
        )
        return frame(query.where(table.c.key.in_(only)) if only else query)

    columns = [
        runs.c.run_uuid.label("run_id"),
        *(column for column in runs.c if column.name not in ("run_uuid", "lifecycle_stage")),
    ]
    found = frame(sa.select(*columns).where(wanted))
    histories = _restore(long("metrics", "is_nan", "timestamp", "step", only=HISTORIES))
    histories = histories.sort_values(["run_id", "key", "step", "timestamp"]).drop_duplicates(
        ["run_id", "key", "step"], keep="last"
    )
    return Tables(
        found.assign(
            suite=found["experiment_id"].map(numbers), experiment_id=found["experiment_id"].astype(str)
        ),
        long("tags"),
        long("params"),
        _restore(long("latest_metrics", "is_nan"))[["run_id", "key", "value"]],
        histories[["run_id", "key", "step", "value"]],
    )


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


def _restore(metrics: pd.DataFrame) -> pd.DataFrame:
    """NaN and infinity as they were logged."""
    value = metrics["value"].astype(float).mask(metrics["is_nan"].astype(bool))
    return metrics.assign(value=value.mask(value > _INFINITY, math.inf).mask(value < -_INFINITY, -math.inf))


def _read_client(suites: Sequence[str], uri: str) -> Tables:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        names = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    except MlflowException as error:
        raise UserError(
            [mistake("tracking URI", uri, f"an MLflow server that answers ({error.message})")]
        ) from error
    _missing(suites, names.keys() - {"Default"}, uri)
    found = [(suite, run) for suite in suites for run in _pages(client, names[suite])]
    with ThreadPoolExecutor(8) as pool:  # one small request per history: waiting, not work
        asked = [(run.info.run_id, key) for _, run in found for key in HISTORIES if key in run.data.metrics]
        answers = pool.map(lambda pair: client.get_metric_history(*pair), asked)
        histories = {
            (run, key, point.step): point.value
            for (run, key), points in zip(asked, answers, strict=True)
            for point in sorted(points, key=lambda point: (point.step, point.timestamp))
        }
    infos = [
        (i.run_id, i.experiment_id, suite, i.run_name, i.status, i.start_time, i.end_time, i.artifact_uri)
        for suite, i in ((suite, run.info) for suite, run in found)
    ]
    columns = ["run_id", "experiment_id", "suite", "name", "status", "start_time", "end_time", "artifact_uri"]
    return Tables(
        pd.DataFrame(infos, columns=columns),
        *(
            pd.DataFrame(
                [
                    (run.info.run_id, key, value)
                    for _, run in found
                    for key, value in getattr(run.data, part).items()
                ],
                columns=["run_id", "key", "value"],
            )
            for part in ("tags", "params", "metrics")
        ),
        pd.DataFrame(
            [(*name, value) for name, value in histories.items()], columns=["run_id", "key", "step", "value"]
        ),
    )


def _pages(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def write_parquet(runs: Runs, out: Path) -> Path:
    """`runs.parquet`: one row per run, hyperparameters as `params.<name>`, per-epoch values as lists by epoch."""
    frame = runs.runs.drop(columns="params")
    params = pd.DataFrame(runs.runs["params"].tolist(), index=frame.index).add_prefix("params.")
    mixed = [column for column in params if params[column].map(type).nunique() > 1]
    params[mixed] = params[mixed].map(lambda value: value if isinstance(value, str) else json.dumps(value))
    epochs = runs.epochs[runs.epochs["metric"].isin(HISTORIES)].sort_values("epoch")
    lists = epochs.groupby(["run_id", "metric"])["value"].agg(list).unstack().add_prefix("history.")
    wide = frame.join(params).join(lists, on="run_id")
    path = out / "runs.parquet"
    wide.to_parquet(path, index=False)
    return path
