"""The tables beyond accuracy and those of Trust: which there are, what is in them, where they lead."""

import dataclasses

import pytest
import report_store as rs

from kdbench.report import appendix, behind, evaluations, plans, provenance, views
from kdbench.report.cells import Table
from kdbench.report.links import Links
from kdbench.report.material import Material

SETTING = rs.Setting(methods=("original", "byot", "specialists"), trials=3, epochs=3, extras=True)
NOWHERE = Links(None)


def material(made, planned: plans.Plans | None = None) -> Material:
    return Material(rs.frames(made), planned or plans.Plans())


def tables(made, links: Links = NOWHERE) -> dict[str, Table]:
    return {table.id: table for table in evaluations.evaluations(material(made), links)}


def column(table: Table, words: str) -> list[str]:
    place = [head for head, _ in table.head].index(words)
    return [row[place].text for row in table.rows]


def test_what_was_not_measured_has_no_table() -> None:
    assert tables(rs.runs(dataclasses.replace(SETTING, extras=False))) == {}
    ordinary = tables(rs.runs(dataclasses.replace(SETTING, methods=("original", "bss"))))
    assert set(ordinary) == {"behaviour-0"}
    assert not any("Ensemble" in words or "Exit" in words for words, _ in ordinary["behaviour-0"].head)


def test_exits_have_a_table_of_their_own() -> None:
    made = rs.runs(dataclasses.replace(SETTING, methods=("original", "byot"), spread=0.0))
    found = tables(made)
    assert set(found) == {"behaviour-0", "exits-0"}
    exits = found["exits-0"]
    assert column(exits, "Exit") == ["1", "2", "3", "ensemble"]
    assert set(column(exits, "Method")) == {"byot"}
    finals = [r for r in made if r.tags.get("config") == "tuned" and r.tags["method"] == "byot"]
    expected = [
        f"{100 * sum(r.metrics[f'eval/{name}_accuracy'] for r in finals) / 3:.2f}"
        for name in ("exit1", "exit2", "exit3", "ensemble")
    ]
    assert column(exits, "Accuracy, %") == expected
    assert column(exits, "Latency, ms") == ["0.300", "0.600", "0.900", "–"]
    assert [row[1].sort for row in exits.rows] == [1, 2, 3, float("inf")]


def test_specialists_gain_by_how_many_know_the_class() -> None:
    found = tables(rs.runs(SETTING))["covered-0"]
    assert column(found, "Specialists") == ["0", "1", "2"]
    assert column(found, "Test images") == ["40", "50", "10"]
    assert column(found, "Gain, points") == ["+0.00", "+1.00", "+2.00"]
    assert column(tables(rs.runs(SETTING))["behaviour-0"], "Ensemble, %").count("–") == 2


def test_omitted_classes_have_three_settings_so_called() -> None:
    bias = {
        "eval/accuracy_bias_validation": 0.96,
        "eval/bias_validation": 2.5,
        "eval/omitted_errors": 14.0,
        "eval/omitted_errors_uncorrected": 133.0,
        "audit/accuracy_bias_test": 0.97,
        "audit/bias_test": 3.5,
    }
    made = [rs.replace(run, bias) if run.kind == "final" else run for run in rs.runs(SETTING)]
    found = tables(made)["omitted-0"]
    assert column(found, "Validation-corrected, %") == ["96.00"] * 3
    assert column(found, "Test-chosen, %") == ["97.00"] * 3
    assert "upper bound" in dict(found.head)["Test-chosen, %"]
    assert column(found, "Omitted wrong") == ["133.0"] * 3
    uncorrected = sorted(float(text) for text in column(found, "Uncorrected, %"))
    board = material(made).boards[0].table["test_accuracy_mean"]
    assert uncorrected == pytest.approx(sorted(100 * board), abs=0.006)


def test_every_number_leads_to_runs() -> None:
    setting = dataclasses.replace(SETTING, fractions=(1.0, 0.2), trials=12)
    made = rs.runs(setting)
    for method in setting.methods:
        tags = rs.common(setting, "study", method, setting.pairs[0], 1.0, method)
        made.append(rs.Run("study", method, tags))
    whole = material(made)
    ids = {row.id for row in behind.run_lists(whole.boards, whole, NOWHERE)} | {"runs"}
    for links, begins in ((NOWHERE, "#"), (Links("http://host:5000"), "http://host:5000/#/")):
        found = [
            *evaluations.evaluations(whole, links),
            *appendix.fractions(whole, links),
            *(views.board_view(board, whole, links).table for board in whole.boards),
            appendix.search(whole, {}, None, links),
            appendix.crossings(whole, links),
            provenance.table(whole, links),
            provenance.launches(whole, links),
        ]
        assert len(found) == 10
        for table in filter(None, found):
            for row in table.rows:
                for words, cell in zip((words for words, _ in table.head), row, strict=True):
                    number = isinstance(cell.sort, float | int) and cell.text != "–"
                    if number and words not in NAMES:
                        assert cell.href and cell.href.startswith(begins), (table.id, words)
                        assert links.base or cell.href.removeprefix("#") in ids


# Columns that say what a row is of, or are computed from cells beside them that lead to their runs.
NAMES = {"Exit", "Specialists", "Data", "Area", "Gain area"}


def test_launches_are_told_of() -> None:
    found = provenance.launches(material(rs.runs(SETTING)), NOWHERE)
    assert found is not None
    ((suite, utilisation, slots, restarts, *decisions),) = found.rows
    assert (suite.text, utilisation.text, restarts.text) == ("synthetic", "93.00", "2")
    assert slots.text == "15.5 min of 16.7 min"
    assert [cell.text for cell in decisions] == ["0.50 ms"] * 3
    assert "1\u202f234, slowest 8.7 ms" in decisions[0].note
    assert provenance.launches(material(rs.runs(dataclasses.replace(SETTING, extras=False))), NOWHERE) is None


def test_importance_is_given_or_why_not() -> None:
    few = material(rs.runs(dataclasses.replace(SETTING, trials=12, methods=("original", "byot"))))
    assert "2 of 2 searches have fewer than 10 complete trials (8)" in appendix.unexplained(few)
    assert appendix.unexplained(material(rs.runs(dataclasses.replace(SETTING, trials=16)))) == ""


def test_agreement_is_told_at_the_first_rung() -> None:
    setting = dataclasses.replace(SETTING, trials=12, epochs=9, methods=("byot",))
    suite = {"search": {"scheduler": "asha", "grace_epochs": 2, "reduction_factor": 3}}
    planned = plans.Plans(suites={"synthetic": {**suite, "training": {"epochs": 9}}})
    table = appendix.search(material(rs.runs(setting), planned), {}, None, NOWHERE)
    assert table is not None
    cell = table.rows[0][[words for words, _ in table.head].index("τ at first rung")]
    assert cell.note == "epoch 2, 8 trials" and -1 <= float(cell.text.replace("−", "-")) <= 1
