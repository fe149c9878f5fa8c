"""The leaderboards as files: CSV for machines, Markdown for repositories, LaTeX (booktabs) for papers."""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.report.leaderboard import COLUMNS, MINIMUM, Leaderboard

_WHOLE = {"n", "rank", "trials", "trials_failed"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "−": r"$-$",
    "\n": " ",
}
HEADINGS = (
    "Method",
    "n",
    "Test accuracy",
    "Gain over original",
    "Gain over hinton",
    "p (Holm)",
    "Default",
    "Failed",
)


def write_csv(boards: Sequence[Leaderboard], path: Path) -> None:
    """`leaderboard.csv`: COLUMNS of all leaderboards; empty = not available, full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for board in boards:
            for row in board.table.to_dict("records"):
                writer.writerow([_plain(name, row[name]) for name in COLUMNS])


def _plain(name: str, value: Any) -> Any:
    if missing(value):
        return ""
    return int(value) if name in _WHOLE else value


def missing(value: Any) -> bool:
    """Whether a cell has no value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def write_markdown(boards: Sequence[Leaderboard], verdicts: Mapping[Any, str], path: Path) -> None:
    """`leaderboard.md`: one table per leaderboard under its verdict."""
    parts = ["# Leaderboards\n"]
    for board in boards:
        parts.append(f"## {escape_markdown(heading(board))}\n\n{escape_markdown(verdicts[board.key])}\n")
        lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)]]
        lines += [[escape_markdown(cell) for cell in cells] for cells in rows(board)]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
    if not boards:
        parts.append("No leaderboard: no final run or trial has been logged.\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def write_latex(boards: Sequence[Leaderboard], verdicts: Mapping[Any, str], path: Path) -> None:
    """`leaderboard.tex`: one booktabs table per leaderboard; needs \\usepackage{booktabs}."""
    parts = [r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}"]
    for board in boards:
        lines = [" & ".join(map(escape_latex, cells)) + r" \\" for cells in rows(board)]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{escape_latex(heading(board))}. {escape_latex(verdicts[board.key])}}}",
                    r"\begin{tabular}{l" + "r" * (len(HEADINGS) - 1) + "}",
                    r"\toprule",
                    " & ".join(map(escape_latex, HEADINGS)) + r" \\",
                    r"\midrule",
                    *lines,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def heading(board: Leaderboard) -> str:
    """What a leaderboard is of, in one line."""
    key = board.key
    return f"{key.dataset}, {key.pair.replace('->', '→')}, {key.fraction:.4g} of the training data, protocol {key.protocol}"


def rows(board: Leaderboard) -> Iterator[list[str]]:
    """A leaderboard's cells as words, in the order of HEADINGS."""
    for row in board.table.to_dict("records"):
        yield [
            row["method"] + (" *" if row["method"] in board.leading else ""),
            seeds(row),
            interval(row["test_accuracy_mean"], row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]),
            gain(row, "gain_original"),
            gain(row, "gain_hinton"),
            p_value(row["p_adjusted"]) if not missing(row["p_adjusted"]) else not_tested(row),
            percent(row["default_test_accuracy_mean"]),
            f"{row['trials_failed']}/{row['trials']}",
        ]


def seeds(row: Mapping[str, Any]) -> str:
    """`3`, or `2/3` where planned finals are missing."""
    return str(row["n"]) if row["n"] >= row["planned"] else f"{row['n']}/{row['planned']}"


def percent(value: float, digits: int = 2) -> str:
    """An accuracy in per cent; an en dash where there is none."""
    return "–" if missing(value) else f"{100 * value:.{digits}f}"


def interval(mean: float, low: float, high: float) -> str:
    """`97.83 ± 0.42` (per cent), the mean alone where it has no interval."""
    return percent(mean) + ("" if missing(low) or missing(high) else f" ± {100 * (high - low) / 2:.2f}")


def gain(row: Mapping[str, Any], column: str) -> str:
    """`+0.61 [0.10, 1.12]`, in percentage points."""
    if missing(row[column]):
        return "–"
    value = f"{100 * row[column]:+.2f}".replace("-", "−")
    low, high = row[f"{column}_ci_low"], row[f"{column}_ci_high"]
    if missing(low):
        return "baseline" if row["label"] == column.removeprefix("gain_") else value
    return f"{value} [{100 * low:.2f}, {100 * high:.2f}]".replace("-", "−")


def p_value(p: float) -> str:
    """Three decimals, or that it is smaller."""
    return "–" if missing(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def not_tested(row: Mapping[str, Any]) -> str:
    """Why a row has no p-value."""
    if row["label"] == "original":
        return "–"
    return f"not tested: {seeds(row)}" if row["n"] < max(MINIMUM, row["planned"]) else "not tested"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it stands, in a table cell too."""
    return re.sub(r"([\\`*_{}\[\]()#+\-!|<>~])", r"\\\1", text).replace("\n", " ")


def frame(board: Leaderboard) -> pd.DataFrame:
    """The leaderboard with the columns of the CSV only."""
    return board.table[list(COLUMNS)]
