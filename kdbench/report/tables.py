"""The leaderboards as files: CSV for machines, Markdown for repositories, LaTeX (booktabs) for papers."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.report.cells import decimals, duration, missing
from kdbench.report.frames import records
from kdbench.report.leaderboard import BASELINES, COLUMNS, MINIMUM, Key, Leaderboard

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
    "[": "{[}",  # after \\ a bracket would be read as a length
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "·": r"$\cdot$",
    "\n": " ",
}
HEADINGS = (
    *("Method", "n", "Test accuracy, %"),
    *(f"Gain over {name}" for name in BASELINES),
    *("P(better)", "p (Holm)", "Default, %", "Rank", "Trials failed", "Device time", "Peek"),
)
Verdicts = Mapping[Key, str]


def write_csv(boards: Sequence[Leaderboard], path: Path) -> None:
    """`leaderboard.csv`: COLUMNS of all leaderboards; empty = not available, full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for board in boards:
            for row in records(board.table):
                writer.writerow([_plain(name, row[name]) for name in COLUMNS])


def _plain(name: str, value: Any) -> Any:
    if missing(value):
        return ""
    return int(value) if name in _WHOLE else value


def write_markdown(boards: Sequence[Leaderboard], verdicts: Verdicts, path: Path) -> None:
    """`leaderboard.md`: one table per leaderboard under its verdict."""
    parts = ["# Leaderboards\n"]
    for board in boards:
        parts.append(f"## {escape_markdown(heading(board))}\n\n{escape_markdown(verdicts[board.key])}\n")
        lines = [list(HEADINGS), ["---", *["---:"] * (len(HEADINGS) - 1)]]
        lines += [[escape_markdown(cell) for cell in cells] for cells in rows(board)]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
        parts.append("\\* leading group; gains with Welch's 95 % interval, percentage points.\n")
    if not boards:
        parts.append("No leaderboard: no trial or final run has been logged.\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def write_latex(boards: Sequence[Leaderboard], verdicts: Verdicts, path: Path) -> None:
    """`leaderboard.tex`: one table per leaderboard, for LaTeX with the package booktabs."""
    parts = [r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}"]
    for board in boards:
        caption = escape_latex(f"{heading(board)}. {verdicts[board.key]} * leading group.")
        lines = [" & ".join(map(escape_latex, cells)) + r" \\" for cells in rows(board)]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{caption}}}",
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


def share(fraction: float) -> str:
    """A data fraction in words."""
    return "all training data" if fraction == 1 else f"{100 * fraction:g} % of the training data"


def heading(board: Leaderboard) -> str:
    """What a leaderboard is of, in one line."""
    key = board.key
    pair = key.pair.replace("->", "→")
    return f"{key.dataset}, {pair}, {share(key.fraction)}, protocol {key.protocol}"


def rows(board: Leaderboard) -> Iterator[list[str]]:
    """A leaderboard's cells as words, in the order of HEADINGS."""
    for row in records(board.table):
        yield [
            row["method"] + (" *" if row["method"] in board.leading else ""),
            seeds(row),
            accuracy(row),
            *(gain(row, name) for name in BASELINES),
            decimals(row["probability_of_improvement"]),
            significance(row),
            percent(row["default_test_accuracy_mean"]),
            decimals(row["rank"], 0),
            f"{row['trials_failed']}/{row['trials']}",
            duration(row["device_seconds"]),
            percent(row["test_peek"]),
        ]


def facts(boards: Sequence[Leaderboard]) -> str:
    """What stands behind a table made of these leaderboards: n, budget, failures, commits."""
    table = pd.concat([board.table for board in boards])
    searches = table.drop_duplicates("study")
    commits = sorted({commit for text in table["commit"] for commit in text.split()})
    return (
        f"n = {_span(table['n'])} seeds; {_span(searches['trials'])} trials per search; diverged or failed:"
        f" {searches['trials_failed'].sum()} of {searches['trials'].sum()} trials,"
        f" {table['finals_failed'].sum()} final runs; commit {', '.join(commits) or 'unknown'}."
    )


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def seeds(row: Mapping[str, Any]) -> str:
    """`3`, or `2/3` where planned finals are missing."""
    return str(row["n"]) if row["n"] >= row["planned"] else f"{row['n']}/{row['planned']}"


def percent(value: float) -> str:
    """A share in per cent; an en dash where there is none."""
    return "–" if missing(value) else f"{round(100 * value, 2) + 0.0:.2f}".replace("-", "−")


def interval(mean: float, low: float, high: float) -> str:
    """`97.83 ± 0.42` (per cent), the mean alone where it has no interval."""
    return percent(mean) + ("" if missing(low) or missing(high) else f" ± {100 * (high - low) / 2:.2f}")


def accuracy(row: Mapping[str, Any]) -> str:
    """A row's mean test accuracy with its interval."""
    return interval(*(row[f"test_accuracy_{part}"] for part in ("mean", "ci_low", "ci_high")))


def gain(row: Mapping[str, Any], baseline: str) -> str:
    """`+0.61 [0.10, 1.12]`, in percentage points, over a baseline."""
    value, low, high = (row[f"gain_{baseline}{part}"] for part in ("", "_ci_low", "_ci_high"))
    if missing(value) or row["label"] == baseline:
        return "–" if missing(value) else "baseline"
    text = signed(value) if missing(low) else f"{signed(value)} [{percent(low)}, {percent(high)}]"
    return text


def signed(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def significance(row: Mapping[str, Any]) -> str:
    """The adjusted p-value, or that and why there is none."""
    if not missing(row["p_adjusted"]):
        return p_value(row["p_adjusted"])
    if row["label"] == BASELINES[0]:
        return "–"
    return f"not tested: {seeds(row)}" if row["n"] < max(MINIMUM, row["planned"]) else "not tested"


def p_value(p: float) -> str:
    """Three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it stands, in a table cell too."""
    return re.sub(r"([\\`*_{}\[\]#|<>~&])", r"\\\1", text).replace("\n", " ")
