"""Everything the page and the figures are made of, computed once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from kdbench.report import curves, leaderboard, overall, searches, statistics, style
from kdbench.report.plans import Cell, Plans
from kdbench.report.read import Runs


@dataclass(frozen=True)
class Material:
    """What the runs of a report say, in the forms that tables, figures and sentences start from."""

    runs: Runs
    plans: Plans

    @cached_property
    def boards(self) -> list[leaderboard.Leaderboard]:
        """All leaderboards."""
        return leaderboard.leaderboards(self.runs, self.plans)

    @cached_property
    def families(self) -> list[curves.Family]:
        """Leaderboards that differ only in the fraction."""
        return curves.families(self.boards)

    @cached_property
    def curves(self) -> list[curves.Curves]:
        """The generalisation curves of all families with two fractions."""
        return [found for family in self.families if (found := curves.curves(family))]

    @cached_property
    def studies(self) -> list[searches.Study]:
        """All studies with an ended trial."""
        return searches.studies(self.runs, self.plans)

    def importance(self, study: searches.Study) -> dict[str, float]:
        """What mattered in a study that has enough trials to say so."""
        if study.cell not in self._importances:
            space = self.plans.spaces.get(study.cell)
            self._importances[study.cell] = searches.importance(study, space)
        return self._importances[study.cell]

    @cached_property
    def _importances(self) -> dict[Cell, dict[str, float]]:
        return {}

    @cached_property
    def overall(self) -> overall.Overall | None:
        """Gains pooled over blocks."""
        return overall.overall(self.largest)

    @cached_property
    def rank_test(self) -> statistics.RankTest | None:
        """Ranks tested over blocks."""
        return overall.rank_test(self.largest)

    @cached_property
    def marks(self) -> style.Marks:
        """Colour, marker and line of every method in the report."""
        names = {name for board in self.boards for name in board.table["method"]}
        return style.marks(names | {study.cell.method for study in self.studies}, leaderboard.BASELINES[0])

    def title(self, board: leaderboard.Leaderboard) -> str:
        """`digits · resnet14→resnet8w4`, and the protocol where the same pair was compared under several."""
        key = board.key
        words = [key.dataset, key.pair.replace("->", "→")]
        same = {
            other.key.protocol
            for other in self.boards
            if (other.key.dataset, other.key.pair) == (key.dataset, key.pair)
        }
        return " · ".join(words + ([f"protocol {key.protocol}"] if len(same) > 1 else []))

    @cached_property
    def experiments(self) -> dict[str, str]:
        """MLflow's experiment id of every suite."""
        whole = pd.concat([self.runs.runs, self.runs.launches])
        return dict(zip(whole["suite"], whole["experiment_id"].astype(str), strict=True))

    @cached_property
    def suites(self) -> list[str]:
        """The suites with runs, by name."""
        return sorted(self.experiments)

    def study_run(self, row: Mapping[str, Any]) -> str | None:
        """The MLflow run that holds a leaderboard row's trials together."""
        return self._study_runs.get(row["study"])

    @cached_property
    def _study_runs(self) -> dict[Cell, str]:
        runs = self.runs.of("study")
        return {Cell(*cell): run for *cell, run in runs[[*Cell._fields, "run_id"]].itertuples(index=False)}

    @property
    def largest(self) -> list[leaderboard.Leaderboard]:
        """Each family's leaderboard at its largest fraction."""
        return [family[0] for family in self.families]


def highlighted(methods: Sequence[str], always: Iterable[str] = leaderboard.BASELINES) -> list[str]:
    """The first methods (best first) that a line figure draws in colour, the baselines among them."""
    if len(methods) <= style.HIGHLIGHTED + 2:
        return list(methods)
    kept = [name for name in always if name in methods]
    best = [name for name in methods if name not in kept][: style.HIGHLIGHTED - len(kept)]
    return [name for name in methods if name in {*kept, *best}]
