import dataclasses
import math

import numpy as np
import pytest
import report_store as rs
import yaml

from kdbench.report import plans, searches

SETTING = rs.Setting(methods=("original", "bss"), trials=16, epochs=6)
UNPLANNED = plans.Plans()  # no plan could be read


def studies(made, planned=UNPLANNED) -> dict:
    return {study.cell.method: study for study in searches.studies(rs.frames(made), planned)}


def trial(number: int, value: float, loss: float = 0.5, state: str = "complete") -> rs.Run:
    tags = rs.common(SETTING, "trial", "bss", SETTING.pairs[0], 1.0, str(number))
    tags |= {"trial": str(number), "state": state}
    return rs.Run("trial", "", tags, {"lr": 0.1}, {"val/loss": loss}, {"val/accuracy": [0.5, value]})


def test_incomplete_trials_count_as_zero() -> None:
    made = [trial(0, 0.8), trial(1, 0.9, state="pruned"), trial(2, 0.7), trial(3, math.nan, state="diverged")]
    study = studies(made)["bss"]
    assert study.values.tolist() == [0.8, 0.0, 0.7, 0.0]
    assert study.best_so_far.tolist() == [0.8, 0.8, 0.8, 0.8]
    late = studies([trial(0, 0.9, state="failed"), trial(1, 0.6), trial(2, 0.7)])["bss"]
    assert math.isnan(late.best_so_far[0]) and late.best_so_far[1:].tolist() == [0.6, 0.7]


def test_the_best_trial_and_its_ties() -> None:
    assert searches.best(studies([trial(0, 0.8), trial(1, 0.9), trial(2, 0.85)])["bss"])["trial"] == 1
    assert searches.best(studies([trial(0, 0.9, 0.5), trial(1, 0.9, 0.4)])["bss"])["trial"] == 1
    assert searches.best(studies([trial(1, 0.9, 0.4), trial(0, 0.9, 0.4)])["bss"])["trial"] == 0
    assert searches.best(studies([trial(0, 0.9, state="pruned")])["bss"]) is None


def test_best_configurations_are_files_for_train(tmp_path) -> None:
    found = searches.studies(rs.frames(rs.runs(SETTING)), plans.Plans())
    written = searches.write_configs(found, tmp_path, UNPLANNED)
    assert sorted(path.name for path in written.values()) == ["bss.yaml", "original.yaml"]
    best = searches.best(found[0])
    values = yaml.safe_load(written[found[0].cell].read_text())
    assert values == best["params"] and isinstance(values["lr"], float)
    assert best["run_id"] in written[found[0].cell].read_text()


def test_a_configuration_says_which_method_a_label_stands_for(tmp_path) -> None:
    found = searches.studies(rs.frames(rs.runs(SETTING)), UNPLANNED)
    planned = plans.Plans(suites={"synthetic": {"methods": [{"method": "hinton", "as": "bss"}]}})
    text = next(iter(searches.write_configs(found, tmp_path, planned).values())).read_text()
    assert text.startswith("# bss (method hinton), ")


def test_files_of_several_studies_of_a_label_are_apart(tmp_path) -> None:
    setting = dataclasses.replace(SETTING, methods=("a/b|c",), pairs=("x->y", "x->z"), trials=3)
    written = searches.write_configs(
        searches.studies(rs.frames(rs.runs(setting)), UNPLANNED), tmp_path, UNPLANNED
    )
    names = sorted(path.name for path in written.values())
    assert names == ["a-b-c--x-to-y--1--synthetic.yaml", "a-b-c--x-to-z--1--synthetic.yaml"]


def test_importance_finds_what_matters() -> None:
    generator = np.random.default_rng(0)
    made = []
    for number in range(40):
        run = trial(number, 0.0)
        lr = float(10 ** generator.uniform(-3, -1))
        run.params = {"lr": lr, "momentum": float(generator.uniform()), "kind": "ab"[number % 2], "same": 1}
        run.histories["val/accuracy"] = [0.9 + 0.05 * math.log10(lr)]
        made.append(run)
    study = studies(made)["bss"]
    found = searches.importance(study, None)
    assert set(found) == {"lr", "momentum", "kind"}
    assert found["lr"] > 0.9 and sum(found.values()) == pytest.approx(1)
    assert found == searches.importance(study, None), "seeded"
    space = {"lr": {"kind": "float", "low": 1e-4, "high": 1.0, "scale": "log", "choices": []}}
    assert searches.importance(study, space) == {"lr": 1.0}
    assert searches.importance(studies(made[:9])["bss"], None) == {}


def test_rank_agreement() -> None:
    made = []
    for number, (early, late) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.4, 0.8)]):
        run = trial(number, late)
        run.histories["val/accuracy"] = [1 - early, early, late]
        made.append(run)
    made.append(trial(9, 0.99, state="pruned"))
    assert searches.rank_agreement(studies(made)["bss"]).to_dict() == pytest.approx({1: -1.0, 2: 1.0})


def test_crossings_are_listed_per_search() -> None:
    found = searches.studies(rs.frames(rs.runs(SETTING)), plans.Plans())
    found = [dataclasses.replace(study, trials=study.trials[:3].copy()) for study in found]
    for study, values in zip(found, ([0.5, 0.5, 0.5], [0.0, 0.0, 0.9]), strict=True):
        study.trials.loc[:, "state"] = "complete"
        study.trials.loc[:, searches.OBJECTIVE] = values
    # Expected best of the second: 0.3, 0.6, 0.9.
    table = searches.crossing_table(found)
    assert table["trials"].tolist() == [[2]]


def test_partial_studies_are_known() -> None:
    cell = plans.Cell("synthetic", "bss", SETTING.pairs[0], 1.0)
    assert studies(rs.runs(SETTING), plans.Plans(trials={cell: 20}))["bss"].partial
    assert not studies(rs.runs(SETTING), plans.Plans(trials={cell: 16}))["bss"].partial
