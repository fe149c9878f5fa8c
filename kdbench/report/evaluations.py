"""Tables of what was measured on finals besides accuracy: behaviour, exits, omitted classes, specialists."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

from kdbench.report import tables
from kdbench.report.behind import finals
from kdbench.report.cells import Cell, Table, decimals, key, missing, thousands
from kdbench.report.figures.beyond import means
from kdbench.report.frames import columns, records
from kdbench.report.leaderboard import TEST
from kdbench.report.links import Links
from kdbench.report.material import Material

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A column: which metric it holds, what it is called and what that means."""

    name: str  # the metric, without what stands before it
    words: str
    meaning: str
    show: Callable[[float], str] = tables.percent


def thousandths(value: float) -> str:
    """Three decimals, or a dash."""
    return decimals(value, 3)


def tenths(value: float) -> str:
    """One decimal, or a dash."""
    return decimals(value, 1)


# Of a student, and of each exit of one.
STUDENT = (
    Measure("agreement", "Agreement, %", "test images on which student and teacher say the same"),
    Measure(
        "magsim",
        "MagSim",
        "likeness of distances to the boundary, student and teacher; 1 = equal",
        thousandths,
    ),
    Measure(
        "angsim",
        "AngSim",
        "the same of directions",
        thousandths,
    ),
    Measure("boundary_pairs", "Pairs", "pairs of boundary supporting samples behind both", tenths),
    Measure("robust_accuracy_fgsm", "FGSM, %", "accuracy under a one-step attack"),
    Measure("robust_accuracy_pgd", "PGD, %", "accuracy under a projected gradient attack"),
    Measure("ece", "ECE", "expected calibration error, 15 bins; 0 = calibrated", thousandths),
    Measure("parameters", "Parameters", "of the network", thousands),
    Measure("flops", "FLOPs", "for one image", thousands),
    Measure("latency_ms", "Latency, ms", "for one image on the device of the runs", thousandths),
)
ACCURACY = Measure("accuracy", "Accuracy, %", "test accuracy")
ENSEMBLE = Measure("ensemble_accuracy", "Ensemble, %", "test accuracy of the networks of a chain together")
OMITTED = (
    Measure(TEST, "Uncorrected, %", "test accuracy as it is: the result"),
    Measure("eval/accuracy_bias_validation", "Validation-corrected, %", "with the bias from validation data"),
    Measure("eval/bias_validation", "its bias", "added to the omitted classes' logits", thousandths),
    Measure(
        "audit/accuracy_bias_test",
        "Test-chosen, %",
        "with the bias chosen on test data, as in the paper: an upper bound, no result",
    ),
    Measure("audit/bias_test", "its bias", "as before, chosen on test data", thousandths),
    Measure("eval/omitted_errors_uncorrected", "Omitted wrong", "their test images, uncorrected", tenths),
    Measure("eval/omitted_errors", "… corrected", "the same with the validation data's bias", tenths),
)
COVERED = (
    Measure("images", "Test images", "whose class so many specialists know", thousands),
    Measure("teacher_accuracy", "Generalist, %", "accuracy of the teacher alone on them"),
    Measure("accuracy", "With specialists, %", "accuracy of teacher and specialists together on them"),
    Measure("gain", "Gain, points", "with specialists − generalist, percentage points", tables.signed),
)
EXIT = re.compile(r"eval/(?:exit(\d+)|(ensemble))_(\w+)")
COVERING = re.compile(r"eval/covered(\d+)_(\w+)")


def evaluations(material: Material, links: Links) -> list[Table]:
    """For each pair at its largest fraction the tables that its finals have metrics for."""
    known = columns(material.runs.runs)
    wanted = [name for name in known if name.startswith(("eval/", "audit/accuracy", "audit/bias"))]
    makers = (behaviour, exits, omitted, covered)
    found = []
    for number, board in enumerate(material.largest):
        rows = records(means(material, board, [TEST, *wanted]))
        title, hrefs = material.title(board), finals(board, material, links)
        made = (make(rows, hrefs, title, number) for make in makers)
        found += [replace(table, facts=tables.facts([board])) for table in made if table is not None]
    return found


def behaviour(rows: Sequence[Row], hrefs: Mapping[str, str], title: str, number: int) -> Table | None:
    """One row per method. A network's exits and their ensemble have a table of their own."""
    lines = []
    for row in rows:
        values = {measure.name: row.get(f"eval/{measure.name}", nan) for measure in STUDENT}
        values[ENSEMBLE.name] = nan if _numbered(EXIT, row) else row.get("eval/ensemble_accuracy", nan)
        lines.append((_names(row), values))
    return _table(f"behaviour-{number}", title, (), (*STUDENT, ENSEMBLE), lines, hrefs)


def exits(rows: Sequence[Row], hrefs: Mapping[str, str], title: str, number: int) -> Table | None:
    """One row per exit of networks that can answer early, and one for all exits together."""
    lines = [
        (_names(row, Cell(exit_ or "ensemble", float(exit_ or inf))), values)
        for row in rows
        for exit_, values in _numbered(EXIT, row).items()
    ]
    head = (("Exit", "1 is the shallowest; ensemble: the mean of all exits' probabilities"),)
    return _table(f"exits-{number}", f"{title}: exits", head, (ACCURACY, *STUDENT), lines, hrefs)


def omitted(rows: Sequence[Row], hrefs: Mapping[str, str], title: str, number: int) -> Table | None:
    """The three settings of a bias on classes that the students never saw."""
    lines = [
        (_names(row), {measure.name: row.get(measure.name, nan) for measure in OMITTED})
        for row in rows
        if not missing(row.get("eval/accuracy_bias_validation", nan))
    ]
    return _table(f"omitted-{number}", f"{title}: omitted classes", (), OMITTED, lines, hrefs)


def covered(rows: Sequence[Row], hrefs: Mapping[str, str], title: str, number: int) -> Table | None:
    """What specialists add to the generalist, by the number of them that know an image's class."""
    lines = []
    for row in rows:
        for count, values in _numbered(COVERING, row).items():
            gain = values.get("accuracy", nan) - values.get("teacher_accuracy", nan)
            lines.append((_names(row, Cell(count, float(count))), {**values, "gain": gain}))
    head = (("Specialists", "how many of them know the class of the image"),)
    return _table(f"covered-{number}", f"{title}: specialists", head, COVERED, lines, hrefs)


def _numbered(pattern: re.Pattern[str], row: Row) -> dict[str, dict[str, float]]:
    """A row's metrics `<number>_<name>` as number -> name -> value; {} where no number was logged.

    What belongs to all (the ensemble of the exits) has the number "" and is the last.
    """
    found: dict[str, dict[str, float]] = {}
    for metric, value in row.items():
        match = pattern.fullmatch(metric)
        if match and not missing(value):
            found.setdefault(match[1] or "", {})[match[match.lastindex or 0]] = float(value)
    numbers = sorted(filter(None, found), key=int)
    return {number: found[number] for number in [*numbers, *(("",) if "" in found else ())] if numbers}


def _names(row: Row, *others: Cell) -> list[Cell]:
    return [Cell(row["method"], row["method"]), *others]


def _table(
    id_: str,
    caption: str,
    head: Sequence[tuple[str, str]],
    measures: Sequence[Measure],
    lines: Sequence[tuple[Sequence[Cell], Mapping[str, float]]],
    hrefs: Mapping[str, str],
) -> Table | None:
    """`lines` are (names, values): the method, what `head` names, and the values of measures by name."""
    shown = [m for m in measures if not all(missing(values.get(m.name, nan)) for _, values in lines)]
    if not shown:
        return None
    rows = [
        [
            *names,
            *(
                Cell(m.show(value), key(value), None if missing(value) else hrefs.get(names[0].text))
                for m in shown
                for value in [values.get(m.name, nan)]
            ),
        ]
        for names, values in lines
    ]
    words = [("Method", "its label"), *head, *((m.words, m.meaning) for m in shown)]
    return Table(id_, caption, words, rows, swatches=True)
