import csv
from pathlib import Path

import report_store as rs

from kdbench.report import leaderboard, plans, tables, verdict
from kdbench.report.links import Links

ODD = r"a_b|c&d%<script>$x$\e#{}~^*`[1]"


def boards(*methods: str) -> list[leaderboard.Leaderboard]:
    made = rs.runs(rs.Setting(methods=methods, trials=2))
    return leaderboard.leaderboards(rs.frames(made), plans.Plans())


def test_csv_has_the_columns_in_order_and_empty_cells(tmp_path: Path) -> None:
    found = boards("original", "bss")
    tables.write_csv(found, tmp_path / "leaderboard.csv")
    with (tmp_path / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(leaderboard.COLUMNS)
    by_method = {row["method"]: row for row in rows}
    assert by_method["original"]["p_adjusted"] == "" and by_method["bss"]["gain_hinton"] == ""
    assert by_method["bss"]["n"] == "3" and by_method["bss"]["rank"] in ("1", "2")
    exact = found[0].table.set_index("method").loc["bss", "test_accuracy_mean"]
    assert float(by_method["bss"]["test_accuracy_mean"]) == exact


def test_odd_labels_are_escaped(tmp_path: Path) -> None:
    found = boards("original", ODD)
    verdicts = {board.key: verdict.verdict(board) for board in found}
    tables.write_markdown(found, verdicts, tmp_path / "t.md")
    tables.write_latex(found, verdicts, tmp_path / "t.tex")
    rows = [line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("| a")]
    assert len(rows) == 1 and rows[0].startswith(r"| a\_b\|c\&d%\<script\>$x$\\e\#\{\}\~^\*\`\[1\] ")
    assert rows[0].replace(r"\|", "").count("|") == len(tables.HEADINGS) + 1
    tex = (tmp_path / "t.tex").read_text()
    assert (
        r"a\_b\textbar{}c\&d\%\textless{}script\textgreater{}\$x\$\textbackslash{}e\#\{\}\textasciitilde{}"
        r"\textasciicircum{}*`{[}1] " in tex
    )
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert all(line.endswith(r" \\") for line in body.strip().splitlines())
    unescaped = body.replace(r"\&", "").count("&")
    assert unescaped == 2 * (len(tables.HEADINGS) - 1)


def test_numbers_in_words() -> None:
    assert tables.interval(0.97826, 0.974, 0.9826) == "97.83 ± 0.43"
    assert tables.interval(0.5, float("nan"), float("nan")) == "50.00"
    assert tables.percent(float("nan")) == "–" and tables.percent(-1e-6) == "0.00"
    assert (tables.p_value(0.0004), tables.p_value(0.0314)) == ("< 0.001", "0.031")
    assert tables.signed(-0.012) == "−1.20"
    row = {"label": "bss", "n": 2, "planned": 3, "p_adjusted": float("nan")}
    assert tables.significance(row) == "not tested: 2/3"
    assert tables.share(0.125) == "12.5 % of the training data"


def test_links() -> None:
    assert Links.of("sqlite:///x", None).runs("1", ["a"]) is None
    links = Links.of("http://host:5000/", None)
    assert links.run("1", "abc") == "http://host:5000/#/experiments/1/runs/abc"
    assert links.runs("1", ["a", "b"]) == (
        "http://host:5000/#/compare-runs?runs=%5B%22a%22%2C%20%22b%22%5D&experiments=%5B%221%22%5D"
    )
    assert Links.of("https://me:secret@host/mlflow/", None).base == "https://host/mlflow"
    assert Links.of("sqlite:///x", "http://127.0.0.1:5000").runs("1", ["a"]).endswith("/runs/a")


def test_what_stands_behind_a_table() -> None:
    made = rs.runs(rs.Setting(methods=("original", "hinton"), fractions=(1.0, 0.5), trials=4))
    found = leaderboard.leaderboards(rs.frames(made), plans.Plans())
    said = tables.facts(found)
    assert said.startswith(
        "n = 3 seeds; 4 trials per search; diverged or failed: 0 of 8 trials, 0 final runs; commit "
    )
