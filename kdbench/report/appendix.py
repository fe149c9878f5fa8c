"""The page's other tables: fractions, searches, overall ranking."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

from kdbench.report import overall, searches, tables
from kdbench.report.behind import finals, search_of
from kdbench.report.cells import Cell, Table, decimals, key
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES
from kdbench.report.links import Links
from kdbench.report.material import Material
from kdbench.report.plans import Cell as StudyCell
from kdbench.report.tables import percent, signed


def fractions(material: Material, links: Links) -> list[Table]:
    """Accuracy at every fraction and the area under the curve, per pair."""
    found = []
    for number, curves in enumerate(material.curves):
        shares = sorted(curves.points["fraction"].unique())
        points = {(point["method"], point["fraction"]): point for point in records(curves.points)}
        head = [("Method", "its label")]
        head += [
            (f"{100 * share:g} %", "test accuracy with this share of the training data, %")
            for share in shares
        ]
        head += [
            ("Area", "under the curve, over its span: a mean test accuracy, %"),
            ("Gain area", f"the same of the gain over {BASELINES[0]}, percentage points"),
        ]
        hrefs = {board.key.fraction: finals(board, material, links) for board in curves.family}
        rows = []
        for area in records(curves.areas):
            cells = [Cell(area["method"], area["method"])]
            for share in shares:
                point = points.get((area["method"], share))
                text = tables.interval(point["mean"], point["low"], point["high"]) if point else "–"
                href = hrefs[share].get(area["method"]) if point else None
                cells.append(Cell(text, key(point["mean"] if point else None), href))
            few = f"{area['fractions']} of {len(shares)} fractions" if area["fractions"] < len(shares) else ""
            cells.append(Cell(percent(area["area"]), key(area["area"]), note=few))
            cells.append(Cell(percent(area["gain_area"]), key(area["gain_area"])))
            rows.append(cells)
        title = material.title(curves.family[0])
        facts = tables.facts(curves.family)
        found.append(Table(f"fractions-{number}", title, head, rows, swatches=True, facts=facts))
    return found


def search(material: Material, configs: Mapping[StudyCell, Path], out: Path, links: Links) -> Table | None:
    """One row per study: what was spent, what was found, where it is."""
    head = (
        ("Method", "its label"),
        ("Pair", "teacher → student"),
        ("Data", "share of the training data while searching"),
        ("Best, %", "validation accuracy of the best complete trial"),
        ("Trials", "that have ended, and how"),
        ("τ at first rung", "Kendall's τ of the order of the complete trials there with that at the end"),
        ("Best configuration", "a file for kdbench train METHOD --config FILE"),
    )
    hrefs, rows = search_of(material, links), []
    for study in material.studies:
        trial, cell, file = searches.best(study), study.cell, configs.get(study.cell)
        states = study.trials["state"].value_counts()
        ends = ", ".join(
            f"{states[s]} {s}" for s in ("complete", "pruned", "diverged", "failed") if s in states
        )
        experiment = material.experiments.get(cell.suite, "")
        best = Cell("–", -inf)
        if trial is not None:
            value, run = float(trial[searches.OBJECTIVE]), str(trial["run_id"])
            page = links.run(experiment, run) or hrefs.get(cell)
            best = Cell(percent(value), value, page, title=f"MLflow run {run}")
        count = f"{len(study.trials)}/{study.planned} (partial)" if study.partial else str(len(study.trials))
        rows.append(
            [
                Cell(cell.method, cell.method),
                Cell(cell.pair.replace("->", "→"), cell.pair),
                Cell(f"{100 * cell.fraction:g} %", cell.fraction),
                best,
                Cell(count, len(study.trials), hrefs.get(cell), note=ends),
                _early(material, study, hrefs.get(cell)),
                Cell(_settings(trial), _settings(trial), str(file.relative_to(out)) if file else None),
            ]
        )
    return Table("search-table", "Searches", head, rows, swatches=True) if rows else None


def _early(material: Material, study: searches.Study, href: str | None) -> Cell:
    """How well the first comparison of trials, or their first epoch, told the end."""
    agreement = searches.rank_agreement(study)
    rungs = searches.rungs(material.plans.suites.get(study.cell.suite, {}))
    epoch = rungs[0] if rungs else 1
    if epoch not in agreement.index:
        return Cell("–", -inf)
    tau, trials = float(agreement[epoch]), len(study.complete)
    return Cell(decimals(tau), tau, href, note=f"epoch {epoch}, {trials} trials")


def unexplained(material: Material) -> str:
    """Why some searches have no hyperparameter importance; "" where all have it."""
    none = [study for study in material.studies if not searches.explainable(study)]
    few = [study for study in none if len(study.complete) < searches.IMPORTANCE_TRIALS]
    if not none:
        return ""
    counts = [len(study.complete) for study in few]
    parts = []
    if few:
        between = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        parts.append(
            f"{len(few)} of {len(material.studies)} searches have fewer than {searches.IMPORTANCE_TRIALS}"
            f" complete trials ({between})"
        )
    if len(none) > len(few):
        parts.append(f"in {len(none) - len(few)} all trials were equally good")
    return f"No hyperparameter importance where it would say nothing: {'; '.join(parts)}."


def _settings(trial: Any) -> str:
    if trial is None:
        return "no complete trial"
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial["params"].items()
    )


def crossings(material: Material, links: Links) -> Table | None:
    """Numbers of trials at which one method's expected best overtakes another's."""
    table = searches.crossing_table(material.studies)
    if table.empty:
        return None
    head = (
        ("Methods", "which two"),
        ("Pair", "teacher → student"),
        ("Data", "share of the training data while searching"),
        ("Trials", "numbers at which the other one is first ahead"),
    )
    hrefs = search_of(material, links)

    def page(row: Mapping[str, Any]) -> str | None:
        return hrefs.get(StudyCell(row["suite"], row["second"], row["pair"], row["fraction"]))

    rows = [
        [
            Cell(f"{row['first']}, {row['second']}", f"{row['first']} {row['second']}"),
            Cell(row["pair"].replace("->", "→"), row["pair"]),
            Cell(f"{100 * row['fraction']:g} %", row["fraction"]),
            Cell(", ".join(map(str, row["trials"])), row["trials"][0], page(row)),
        ]
        for row in records(table)
    ]
    return Table("crossings", "Budgets at which expected bests cross", head, rows)


def across(material: Material) -> tuple[Table | None, str]:
    """The overall ranking, and what was tested over blocks in words."""
    test, found = material.rank_test, material.overall
    words = f"Friedman and Nemenyi: not tested: {len(material.largest)} of the 5 blocks needed."
    if test is not None:
        words = (
            f"Friedman over {test.blocks} blocks and {len(test.ranks)} methods: p {tables.p_value(test.p)}."
            " Mean ranks and Nemenyi's comparison are in the figure."
        )
    elif len(material.largest) >= 5:
        complete = len(overall.common(material.largest))
        words = f"Friedman and Nemenyi: not tested: {complete} of the 3 methods needed are in every block."
    if found is None:
        return None, words
    ranks = {} if test is None else test.ranks.to_dict()
    head = (
        ("Method", "its label"),
        ("Gain, points", f"over {BASELINES[0]}: interquartile mean over all seeds and blocks"),
        (
            "95 % interval",
            "stratified bootstrap of the seeds within blocks, the baseline's too",
        ),
        ("Mean rank", "over blocks, 1 = best; where tested"),
        ("Blocks", "(data set, protocol, pair)"),
    )
    rows = [
        [
            Cell(row["method"], row["method"]),
            Cell(signed(row["gain"]), row["gain"], "#runs"),
            Cell(f"[{percent(row['low'])}, {percent(row['high'])}]", key(row["low"])),
            Cell(decimals(ranks.get(row["method"])), key(ranks.get(row["method"]), inf)),
            Cell(str(row["blocks"]), row["blocks"]),
        ]
        for row in records(found.table)
    ]
    return Table("overall", "Across blocks", head, rows, swatches=True), words
