"""The page's other tables: fractions, searches, behaviour, the overall ranking, and where everything comes from."""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from kdbench.report import overall, searches, tables
from kdbench.report.figures import beyond
from kdbench.report.leaderboard import BASELINES, device_seconds
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.plans import Cell as StudyCell
from kdbench.report.tables import missing, percent
from kdbench.report.views import Cell, Table, duration

VERSIONS = ("kdbench", "python", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")


def fractions(material: Material) -> list[Table]:
    """Accuracy at every fraction and the area under the curve, per pair."""
    found = []
    for number, curves in enumerate(material.curves):
        shares = sorted(curves.points["fraction"].unique())
        by_point = curves.points.set_index(["method", "fraction"])
        head = [("Method", "its label")]
        head += [
            (f"{share:.4g}", f"test accuracy with {share:.4g} of the training data, %") for share in shares
        ]
        head += [
            ("Area", "mean test accuracy under the curve (trapezoids over the fraction), %"),
            ("Gain area", "the same of the gain over original, percentage points"),
        ]
        rows = []
        for area in curves.areas.to_dict("records"):
            cells = [Cell(area["method"], area["method"])]
            for share in shares:
                point = (
                    by_point.loc[(area["method"], share)]
                    if (area["method"], share) in by_point.index
                    else None
                )
                text = "–" if point is None else tables.interval(point["mean"], point["low"], point["high"])
                cells.append(Cell(text, -inf if point is None else float(point["mean"])))
            short = (
                f"over {area['fractions']} of {len(shares)} fractions"
                if area["fractions"] < len(shares)
                else ""
            )
            cells.append(Cell(percent(area["area"]), _key(area["area"]), note=short))
            cells.append(Cell(percent(area["gain_area"]), _key(area["gain_area"])))
            rows.append(cells)
        title = material.title(curves.family[0])
        found.append(Table(f"fractions-{number}", title, head, rows, swatches=True))
    return found


def search(material: Material, configs: Mapping[StudyCell, Path], out: Path, links: Links) -> Table | None:
    """One row per study: what was spent, what was found, where it is."""
    head = (
        ("Method", "its label"),
        ("Pair", "teacher → student"),
        ("Fraction", "of the training data, while searching"),
        ("Best, %", "validation accuracy of the best complete trial"),
        ("Trials", "ended; with what became of them"),
        (
            "First-rung τ",
            "Kendall's τ of the earliest epoch's order of complete trials with the last epoch's",
        ),
        ("Best configuration", "a file for kdbench train METHOD --config FILE"),
    )
    rows = []
    for study in material.studies:
        trial, cell = searches.best(study), study.cell
        states = study.trials["state"].value_counts()
        words = ", ".join(
            f"{states[s]} {s}" for s in ("complete", "pruned", "diverged", "failed") if s in states
        )
        agreement = searches.rank_agreement(study)
        experiment = material.experiments.get(cell.suite, "")
        file = configs.get(cell)
        rows.append(
            [
                Cell(cell.method, cell.method),
                Cell(cell.pair.replace("->", "→"), cell.pair),
                Cell(f"{cell.fraction:.4g}", cell.fraction),
                Cell("–", -inf)
                if trial is None
                else Cell(
                    percent(trial[searches.OBJECTIVE]),
                    float(trial[searches.OBJECTIVE]),
                    links.run(experiment, trial["run_id"]),
                    title=f"MLflow run {trial['run_id']}",
                ),
                Cell(
                    f"{len(study.trials)}" + (f"/{study.planned}" if study.partial else ""),
                    len(study.trials),
                    note=words + (" (partial)" if study.partial else ""),
                ),
                Cell(f"{agreement.iloc[0]:.2f}", float(agreement.iloc[0]))
                if len(agreement)
                else Cell("–", -inf),
                Cell(_settings(trial), "", str(file.relative_to(out)) if file else None),
            ]
        )
    return Table("search-table", "Searches", head, rows, swatches=True) if rows else None


def _settings(trial: Any) -> str:
    if trial is None:
        return "no complete trial"
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial["params"].items()
    )


def crossings(material: Material) -> Table | None:
    """Numbers of trials at which one method's expected best overtakes another's."""
    table = searches.crossing_table(material.studies)
    if table.empty:
        return None
    head = (
        ("Methods", "which two"),
        ("Pair", "teacher → student"),
        ("Fraction", "of the training data, while searching"),
        ("Crossing at", "number of trials at which the other is first ahead"),
    )
    rows = [
        [
            Cell(f"{row.first} and {row.second}", f"{row.first} {row.second}"),
            Cell(row.pair.replace("->", "→"), row.pair),
            Cell(f"{row.fraction:.4g}", row.fraction),
            Cell(", ".join(map(str, row.trials)), row.trials[0]),
        ]
        for row in table.itertuples()
    ]
    return Table("crossings", "Budgets at which expected bests cross", head, rows)


def behaviour(material: Material) -> list[Table]:
    """Means of everything evaluated besides accuracy, for each pair at its largest fraction."""
    found = []
    for number, board in enumerate(material.largest):
        metrics = sorted(
            name
            for name in material.runs.runs
            if str(name).startswith("eval/") or str(name).startswith("audit/accuracy")
        )
        means = beyond.means(material, board, metrics).dropna(axis=1, how="all")
        present = [name for name in metrics if name in means]
        if not present:
            continue
        head = [
            ("Method", "its label"),
            *((name.split("/", 1)[1].replace("_", " "), name) for name in present),
        ]
        rows = [
            [
                Cell(row["method"], row["method"]),
                *(Cell(_short(row[name]), _key(row[name])) for name in present),
            ]
            for row in means.to_dict("records")
        ]
        found.append(Table(f"behaviour-{number}", material.title(board), head, rows, swatches=True))
    return found


def across(material: Material) -> tuple[Table | None, str]:
    """The overall ranking, and what was tested over blocks in words."""
    blocks, test = len(material.largest), overall.rank_test(material.largest)
    methods = overall.common(material.largest)
    found = overall.overall(material.largest)
    if test is None:
        words = f"Friedman and Nemenyi: not tested: {blocks} of the 5 blocks needed."
        if blocks >= 5:
            words = f"Friedman and Nemenyi: not tested: {len(methods)} of the 3 methods needed are in every block."
    else:
        words = (
            f"Friedman over {test.blocks} blocks and {len(test.ranks)} methods: p = {tables.p_value(test.p)}; mean ranks and"
            " Nemenyi's comparison in the figure."
        )
    if found is None:
        return None, words
    head = (
        ("Method", "its label"),
        ("Gain, points", f"interquartile mean of the gains over {BASELINES[0]} over all seeds and blocks"),
        ("95 % interval", "stratified bootstrap over seeds within blocks, the baseline's too"),
        ("Mean rank", "over blocks, 1 = best; where tested"),
        ("Blocks", "(data set, protocol, pair)"),
    )
    rows = [
        [
            Cell(row.method, row.method),
            Cell(f"{100 * row.gain:+.2f}".replace("-", "−"), row.gain),
            Cell(
                "–" if missing(row.low) else f"[{100 * row.low:.2f}, {100 * row.high:.2f}]".replace("-", "−"),
                _key(row.low),
            ),
            Cell(
                "–" if test is None else f"{test.ranks[row.method]:.2f}",
                inf if test is None else test.ranks[row.method],
            ),
            Cell(str(row.blocks), row.blocks),
        ]
        for row in found.table.itertuples()
    ]
    return Table("overall", "Across blocks", head, rows, swatches=True), words


def provenance(material: Material, links: Links) -> Table:
    """One row per suite: experiment, budget, machine, versions."""
    head = (
        ("Suite", "= MLflow experiment"),
        ("Runs", "trials, finals and teachers in its current plan"),
        ("Budget", "per method and searched fraction"),
        ("Device", "of trials and finals"),
        ("Device time", "every training once, reused ones too; teachers apart"),
        ("Data set", "first digits of its content's hash"),
        ("Commit", "of kdbench"),
        ("Versions", "where the launch ran"),
    )
    work = material.runs.runs[material.runs.runs["kind"].isin(("trial", "final", "teacher"))]
    rows = []
    for suite, runs in work.groupby("suite"):
        once = runs.drop_duplicates("key")
        seconds = device_seconds(once)
        teachers = once["kind"] == "teacher"
        kinds = runs["kind"].value_counts()
        hashes = runs.loc[runs["dataset_hash"] != "", ["dataset", "dataset_hash"]].drop_duplicates()
        environment: Mapping[str, Any] = material.plans.environment.get(str(suite), {})
        rows.append(
            [
                Cell(str(suite), str(suite), title=f"experiment {material.experiments.get(str(suite), '')}"),
                Cell(", ".join(f"{count} {kind}s" for kind, count in kinds.items()), len(runs)),
                Cell(_budget(material.plans.suites.get(str(suite), {})), ""),
                Cell(", ".join(sorted(set(runs["device"]) - {""})) or "–", ""),
                Cell(
                    duration(seconds[~teachers].sum(min_count=1)),
                    _key(seconds[~teachers].sum()),
                    note=f"teachers {duration(seconds[teachers].sum(min_count=1))}" if teachers.any() else "",
                ),
                Cell(", ".join(f"{row.dataset} {row.dataset_hash[:12]}" for row in hashes.itertuples()), ""),
                Cell(", ".join(sorted(set(runs["commit"]) - {""})) or "–", ""),
                Cell(_versions(environment) or "–", ""),
            ]
        )
    return Table("provenance", "Where it comes from", head, rows)


def _budget(suite: Mapping[str, Any]) -> str:
    if not suite:
        return "–"
    search_, final = suite.get("search", {}), suite.get("final", {})
    return (
        f"{search_.get('trials', '?')} trials ({search_.get('sampler', '?')}, {search_.get('scheduler', '?')}),"
        f" {suite.get('training', {}).get('epochs', '?')} epochs (updates {suite.get('training', {}).get('updates', '?')}),"
        f" {final.get('seeds', '?')} seeds"
    )


def _versions(environment: Mapping[str, Any]) -> str:
    known = {
        **environment.get("packages", {}),
        **{k: v for k, v in environment.items() if isinstance(v, str)},
    }
    return ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)


def totals(material: Material) -> list[tuple[str, str]]:
    """The page's figures of size: label and number."""
    runs, boards = material.runs, material.boards
    finals, trials = runs.of("final"), runs.of("trial")
    states = trials["state"].value_counts()
    work = runs.runs[runs.runs["kind"].isin(("trial", "final", "teacher"))].drop_duplicates("key")
    seconds = device_seconds(work)
    methods: Sequence[str] = sorted({name for board in boards for name in board.table["label"]})
    return [
        ("methods", str(len(methods))),
        ("pairs × data sets", str(len({(board.key.dataset, board.key.pair) for board in boards}))),
        ("trials", f"{len(trials)}"),
        (
            "pruned / failed",
            f"{states.get('pruned', 0)} / {states.get('diverged', 0) + states.get('failed', 0)}",
        ),
        ("final runs", f"{len(finals)}"),
        ("device time", duration(seconds.sum(min_count=1))),
    ]


def expected_label(material: Material) -> str:
    """Whether expected validation performance is an estimate or a description here."""
    suites = {study.cell.suite for study in material.studies}
    unbiased = [suite for suite in suites if material.plans.unbiased(suite)]
    return "unbiased" if suites and len(unbiased) == len(suites) else "descriptive"


def _key(value: float) -> float:
    return -inf if missing(value) else float(value)


def _short(value: float) -> str:
    return (
        "–"
        if missing(value)
        else f"{value:,.0f}".replace(",", "\u202f")
        if abs(value) >= 1000
        else f"{value:.4g}"
    )
