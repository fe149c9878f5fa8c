"""What the search did: best configurations, progress, what mattered, whether rungs told the end."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from kdbench import seeds
from kdbench.report import statistics
from kdbench.report.frames import groups
from kdbench.report.plans import Cell, Plans
from kdbench.report.read import Runs

OBJECTIVE, TIE = "val/accuracy", "val/loss"
IMPORTANCE_TRIALS = 10  # complete trials below which a variance decomposition says nothing
TREES = 16  # of fANOVA's forest: a quarter of Optuna's default keeps a report of many studies quick


@dataclass(frozen=True)
class Study:
    """The ended trials of one method's search, by number."""

    cell: Cell
    trials: pd.DataFrame
    histories: pd.DataFrame  # validation accuracy: epoch x run_id of complete trials
    planned: int | None

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The trials that ended with a student."""
        ended = self.trials["state"].eq("complete") & np.isfinite(self.trials[OBJECTIVE])
        complete: pd.DataFrame = self.trials[ended]
        return complete

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """By trial: validation accuracy of the last epoch; 0 where a trial gave no student."""
        complete = self.trials.index.isin(self.complete.index)
        return self.trials[OBJECTIVE].where(complete, 0.0).to_numpy(dtype=float)

    @property
    def best_so_far(self) -> NDArray[np.float64]:
        """By trial: the best complete one until then; NaN before the first."""
        best = np.maximum.accumulate(self.values)
        return np.where(best > 0, best, nan)

    @property
    def partial(self) -> bool:
        """Whether planned trials are missing."""
        return self.planned is not None and len(self.trials) < self.planned


def studies(runs: Runs, plans: Plans) -> list[Study]:
    """Every study with an ended trial."""
    trials = runs.of("trial")
    if OBJECTIVE not in trials:
        trials = trials.assign(**{OBJECTIVE: nan})
    ended = trials[trials["state"].isin(("complete", "pruned", "diverged", "failed"))].sort_values("trial")
    epochs = runs.epochs[runs.epochs["metric"] == OBJECTIVE]
    wide = epochs.pivot(index="epoch", columns="run_id", values="value")
    found = []
    for cell, group in groups(ended, Cell):
        own = group.drop_duplicates("key").reset_index(drop=True)
        complete = own.loc[own["state"] == "complete", "run_id"]
        histories = wide.reindex(columns=complete).dropna(how="all")
        found.append(Study(cell, own, histories, plans.trials.get(cell)))
    return found


def best(study: Study) -> pd.Series | None:
    """The trial whose configuration finals use: highest objective; ties: lower loss, then lower number."""
    complete = study.complete
    if study.planned is not None:
        complete = complete[complete["trial"] < study.planned]
    if complete.empty:
        return None
    loss = complete[TIE] if TIE in complete else pd.Series(nan, index=complete.index)
    ordered = complete.assign(loss=loss.fillna(np.inf)).sort_values(
        [OBJECTIVE, "loss", "trial"], ascending=[False, True, True]
    )
    return ordered.iloc[0]


def write_configs(found: Sequence[Study], folder: Path, plans: Plans) -> dict[Cell, Path]:
    """The best configuration of every study as a file for `kdbench train METHOD --config FILE`.

    Named after the label; with pair, fraction and suite behind it where one label has several studies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = [study.cell.method for study in found]
    written = {}
    for study in found:
        trial, cell = best(study), study.cell
        if trial is None:
            continue
        several = labels.count(cell.method) > 1
        parts = [cell.method, cell.pair, f"{cell.fraction:g}", cell.suite] if several else [cell.method]
        written[cell] = folder / ("--".join(map(file_stem, parts)) + ".yaml")
        comment = (
            f"# {_method(cell, plans)}, {cell.pair}, fraction {cell.fraction:g} of the suite {cell.suite}:"
            f" the best of {len(study.trials)} trials (number {trial['trial']:.0f},"
            f" validation accuracy {trial[OBJECTIVE]:.4f}). MLflow run {trial['run_id']}."
        )
        text = yaml.safe_dump(dict(trial["params"]), sort_keys=True, allow_unicode=True)
        written[cell].write_text(f"{' '.join(comment.split())}\n{text}", encoding="utf-8")
    return written


def _method(cell: Cell, plans: Plans) -> str:
    """The label, and the method to train where that is another."""
    method = plans.method(cell.suite, cell.method)
    return cell.method if method == cell.method else f"{cell.method} (method {method})"


def file_stem(text: str) -> str:
    """A name that is safe as a part of a file's name everywhere."""
    return re.sub(r"[^\w.+=-]+", "-", text.replace("->", "-to-")).strip("-.") or "unnamed"


def rank_agreement(study: Study) -> pd.Series:
    """Kendall's tau of each epoch's order of the complete trials with the last epoch's (index: epoch)."""
    final = study.histories.iloc[-1] if len(study.histories) else pd.Series(dtype=float)
    values = {
        epoch: statistics.kendall_tau(row.to_numpy(), final.to_numpy())
        for epoch, row in study.histories.iloc[:-1].iterrows()
    }
    return pd.Series(values, dtype=float).dropna()


def rungs(suite: Mapping[str, Any]) -> list[int]:
    """The epochs at which a suite's scheduler compares trials; [] where it does not, or is not known."""
    search, epochs = suite.get("search", {}), suite.get("training", {}).get("epochs", 0)
    if search.get("scheduler") != "asha":
        return []
    found, rung = [], search["grace_epochs"]
    while rung < epochs:
        found.append(rung)
        rung *= search["reduction_factor"]
    return found


def crossing_table(found: Sequence[Study]) -> pd.DataFrame:
    """For any two methods of a search: the numbers of trials at which their expected bests cross."""
    curves = {study.cell: statistics.expected_best(study.values) for study in found}
    rows = [
        (a.suite, a.pair, a.fraction, a.method, b.method, at)
        for i, a in enumerate(curves)
        for b in list(curves)[i + 1 :]
        if (a.suite, a.pair, a.fraction) == (b.suite, b.pair, b.fraction)
        and (at := statistics.crossings(curves[a], curves[b]))
    ]
    return pd.DataFrame(rows, columns=["suite", "pair", "fraction", "first", "second", "trials"])


def explainable(study: Study) -> bool:
    """Whether there are enough complete trials, not all alike, to say what mattered."""
    objective = study.complete[OBJECTIVE]
    return len(objective) >= IMPORTANCE_TRIALS and bool(np.ptp(objective) > 0)


def importance(study: Study, space: Mapping[str, Mapping[str, Any]] | None) -> dict[str, float]:
    """Share of the objective's variance that each hyperparameter explains (fANOVA); {} with too few trials.

    The search is rebuilt in memory from complete trials; ranges are the plan's, else those of the trials.
    """
    complete = study.complete
    if not explainable(study):
        return {}
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = pd.DataFrame(complete["params"].tolist())
    names = [
        name
        for name in (space or seen.columns)
        if name in seen and seen[name].notna().all() and seen[name].nunique() > 1
    ]
    distributions = {name: _distribution(seen[name], (space or {}).get(name)) for name in names}
    if not names:
        return {}
    memory = optuna.create_study(direction="maximize")
    memory.add_trials(
        optuna.trial.create_trial(
            params={name: params[name] for name in names}, distributions=distributions, value=float(value)
        )
        for params, value in zip(complete["params"], complete[OBJECTIVE], strict=True)
    )
    seed = seeds.derive(0, "report", "importance", *study.cell)
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    return {name: float(share) for name, share in get_param_importances(memory, evaluator=evaluator).items()}


def _distribution(values: pd.Series, domain: Mapping[str, Any] | None) -> Any:
    """Optuna's distribution of a searched parameter, wide enough for every value seen."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    numbers = values.map(lambda value: isinstance(value, int | float)).all()
    if (domain and domain["kind"] == "categorical") or not numbers:
        choices = set(values) | set((domain or {}).get("choices") or ())
        return CategoricalDistribution(sorted(choices, key=str))
    low, high = float(values.min()), float(values.max())
    log = bool(low > 0 and high / low >= 100)
    if domain:
        low, high, log = min(low, domain["low"]), max(high, domain["high"]), domain["scale"] == "log"
    if values.map(lambda value: isinstance(value, int)).all():
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
