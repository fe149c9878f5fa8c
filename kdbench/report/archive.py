"""`runs.parquet`: every run behind a report, with the plans: all that making it once more needs.

The report itself is made from this file, also right after reading a store: equal files give equal reports.
"""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdbench.errors import UserError, mistake
from kdbench.report.frames import columns
from kdbench.report.links import Links
from kdbench.report.plans import Cell, Plans
from kdbench.report.read import Runs

NAME = "runs.parquet"
_KEY = b"kdbench.report"
_HISTORY, _PARAM = "history.", "params."
_EPOCHS = ("run_id", "metric", "epoch", "value")


@dataclass(frozen=True)
class Archive:
    """What a report is made from."""

    suites: tuple[str, ...]
    runs: Runs
    plans: Plans
    links: Links


def write(archive: Archive, out: Path) -> Path:
    """`runs.parquet` in the folder `out`: one row per run, launches too.

    Beside tags and metrics there are `params.<name>`, all hyperparameters as JSON in `params`, and per-epoch
    values from epoch 1 on as lists `history.<metric>`. Plans, suites and links are in the file's metadata.
    """
    runs = archive.runs
    # Where artifacts lie is of no use on another machine. A fixed order: stores answer in their own.
    frame = pd.concat([runs.runs, runs.launches]).drop(columns="artifact_uri")
    frame = frame.sort_values(["suite", "kind", "start_time", "run_id"], ignore_index=True)
    params = _params(frame)
    frame["params"] = frame["params"].map(json.dumps)
    frame = frame.join(params).merge(_histories(runs.epochs), on="run_id", how="left")
    extra = {
        "suites": archive.suites,
        "left_out": runs.left_out,
        "links": archive.links.base,
        "plans": _plans_to_json(archive.plans),
    }
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(extra).encode()}
    path = out / NAME
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
    return path


def copy(path: Path, out: Path) -> Path:
    """The file once more, in the folder `out`, which may be its own."""
    target = out / NAME
    if not (target.exists() and target.samefile(path)):
        shutil.copyfile(path, target)
    return target


def read(path: Path) -> Archive:
    """What `write` wrote. Raises UserError for a file that is not there or holds something else."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        extra = json.loads(metadata[_KEY])
        # Hyperparameters are read from their JSON, which keeps their types.
        wanted = [name for name in pq.read_schema(path).names if not name.startswith(_PARAM)]
        frame = pq.read_table(path, columns=wanted).to_pandas()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        allowed = f"a {NAME} that a report has written"
        raise UserError([mistake("--runs", str(path), allowed)]) from error
    frame["params"] = frame["params"].map(json.loads)
    histories = [name for name in columns(frame) if name.startswith(_HISTORY)]
    epochs = _epochs(frame[["run_id", *histories]])
    frame = frame.drop(columns=histories)
    launch = frame["kind"] == "launch"
    runs = Runs(
        frame[~launch].reset_index(drop=True),
        epochs,
        frame[launch].reset_index(drop=True),
        int(extra["left_out"]),
    )
    return Archive(tuple(extra["suites"]), runs, _plans_from_json(extra["plans"]), Links(extra["links"]))


def _params(frame: pd.DataFrame) -> pd.DataFrame:
    params = pd.DataFrame(frame["params"].tolist(), index=frame.index).add_prefix(_PARAM)
    for name in columns(params):  # a column holds one type: words where a parameter is not always a number
        if params[name].map(lambda value: isinstance(value, str)).any():
            params[name] = params[name].map(str, na_action="ignore")
    return params[sorted(columns(params))]


def _histories(epochs: pd.DataFrame) -> pd.DataFrame:
    """run_id and one column of lists per metric; NaN stands for an epoch that was not logged."""
    lists = {}
    for metric, points in epochs.groupby("metric"):
        wide = points.pivot(index="run_id", columns="epoch", values="value")
        wide = wide.reindex(columns=range(1, int(points["epoch"].max()) + 1))
        last = points.groupby("run_id")["epoch"].max().reindex(wide.index)
        values = [row[:end].tolist() for row, end in zip(wide.to_numpy(), last, strict=True)]
        lists[f"{_HISTORY}{metric}"] = pd.Series(values, index=wide.index)
    return pd.DataFrame(lists).rename_axis("run_id").reset_index()


def _epochs(frame: pd.DataFrame) -> pd.DataFrame:
    """The lists as long rows again."""
    parts = []
    for name in columns(frame)[1:]:
        lists = frame[["run_id", name]].dropna(subset=name)
        lengths = lists[name].map(len)
        parts.append(
            pd.DataFrame(
                {
                    "run_id": lists["run_id"].repeat(lengths.tolist()).to_numpy(),
                    "metric": name.removeprefix(_HISTORY),
                    "epoch": [epoch for length in lengths for epoch in range(1, length + 1)],
                    "value": np.concatenate([*lists[name], []]).astype(float),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_EPOCHS))


_BY_CELL = ("finals", "trials", "spaces")  # fields of Plans that are mappings from a Cell


def _plans_to_json(plans: Plans) -> dict[str, Any]:
    values = {each.name: getattr(plans, each.name) for each in fields(plans)}
    return values | {name: [[*cell, value] for cell, value in values[name].items()] for name in _BY_CELL}


def _plans_from_json(values: dict[str, Any]) -> Plans:
    cells = {name: {Cell(*cell): value for *cell, value in values[name]} for name in _BY_CELL}
    words = {name: tuple(values[name]) for name in ("notes", "missing")}
    return Plans(**(values | cells | words))
