"""MLflow runs -> one tidy frame: all that the report knows comes through here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kdbench.errors import UserError, mistake
from kdbench.report.store import Tables, read_tables

if TYPE_CHECKING:
    from kdbench.methods.contract import (
        Scalar,  # its module imports torch: seconds that no report should wait
    )

PREFIX = "kdbench."
TAGS = (
    *("kind", "method", "pair", "dataset", "dataset_hash", "fraction", "search_fraction", "seed", "trial"),
    *("study", "key", "teacher_key", "config", "state", "reason", "protocol", "protocol_label", "current"),
    *("device", "commit", "reused", "slot", "model"),
)
NUMBERS = ("fraction", "search_fraction", "trial", "slot")  # of these tags
TRAININGS = ("trial", "final", "teacher")  # studies and launches only hold others together


@dataclass(frozen=True)
class Runs:
    """What the report is made from."""

    runs: pd.DataFrame  # one row per run: columns of Tables.runs, TAGS, `params` (a dict), one per metric
    epochs: pd.DataFrame  # run_id, metric, epoch, value
    launches: pd.DataFrame  # the launch runs, same columns as runs
    left_out: int  # trainings that are in no current plan

    def of(self, kind: str) -> pd.DataFrame:
        """The runs of one kind: trial, final, teacher or study."""
        return self.runs[self.runs["kind"] == kind]


def read(suites: Sequence[str], uri: str) -> Runs:
    """All runs of these suites (= MLflow experiments) that their latest plans contain.

    Raises UserError for a store or an experiment that is not there, and where one data set's name stands for
    two contents.
    """
    runs = tidy(read_tables(suites, uri))
    _refuse_mixed_contents(runs.runs)
    return runs


def tidy(tables: Tables) -> Runs:
    """Long tables -> one row per run, typed; trainings of current plans only."""
    tags = tables.tags[tables.tags["key"].isin([PREFIX + name for name in TAGS])]
    wide = tags.assign(key=tags["key"].str.removeprefix(PREFIX)).pivot(
        index="run_id", columns="key", values="value"
    )
    runs = tables.runs.set_index("run_id").join(wide.reindex(columns=list(TAGS)).astype(object), how="inner")
    numbers = {name: pd.to_numeric(runs[name], errors="coerce") for name in NUMBERS}
    runs = runs.assign(**{name: runs[name].fillna("") for name in TAGS}).assign(**numbers)
    params: dict[str, dict[str, Scalar]] = {}
    for run, name, value in zip(
        *(tables.params[column] for column in ("run_id", "key", "value")), strict=True
    ):
        params.setdefault(run, {})[name] = parse(value)
    metrics = tables.metrics.pivot(index="run_id", columns="key", values="value")
    runs = runs.join(metrics, how="left")
    runs["params"] = pd.Series({run: params.get(run, {}) for run in runs.index}, dtype=object)
    runs = runs.rename_axis("run_id").reset_index()
    training, current = runs["kind"].isin(TRAININGS), runs["current"].eq("true")
    kept = runs[(training & current) | (runs["kind"].eq("study") & runs["current"].ne("false"))]
    epochs = tables.histories.rename(columns={"key": "metric", "step": "epoch"})
    return Runs(
        kept.reset_index(drop=True),
        epochs[epochs["run_id"].isin(kept["run_id"])].reset_index(drop=True),
        runs[runs["kind"] == "launch"].reset_index(drop=True),
        int((training & ~current).sum()),
    )


def parse(text: str) -> "Scalar":
    """A parameter as it was before MLflow made a string of it: an int, a float, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def numbers_of(runs: pd.DataFrame, metric: str) -> pd.Series:
    """A metric's column; NaN where no run has logged it."""
    return runs[metric] if metric in runs else pd.Series(np.nan, index=runs.index, dtype=float)


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
