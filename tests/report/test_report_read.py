import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest
import report_store as rs

from kdbench.errors import UserError
from kdbench.report import plans, read
from kdbench.report import store as stores

SMALL = rs.Setting(methods=("original", "hinton"), trials=3, seeds=2, epochs=3)


def odd_values(setting: rs.Setting) -> list[rs.Run]:
    """Runs with values that stores spell in their own way."""
    made = rs.runs(setting)
    made[1] = rs.replace(made[1], {"val/loss": math.nan, "train/loss": math.inf})
    made[2].params["note"] = "a word"
    return made


def sorted_runs(runs: read.Runs) -> pd.DataFrame:
    key = runs.runs.sort_values("key").drop(columns=["run_id", "experiment_id", "artifact_uri", "end_time"])
    return key.drop(columns="start_time").reset_index(drop=True)


def test_database_client_and_direct_writing_give_the_same(tmp_path: Path, store, monkeypatch) -> None:
    for name in ("direct", "client"):
        (tmp_path / name).mkdir()
    direct = read.tidy(
        stores.read_tables(["synthetic"], store(odd_values(SMALL), folder=tmp_path / "direct"))
    )
    uri = rs.write(odd_values(SMALL), tmp_path / "client")
    by_sql = read.tidy(stores.read_tables(["synthetic"], uri))
    monkeypatch.setattr(stores, "SQLITE", "another:")
    by_client = read.tidy(stores.read_tables(["synthetic"], uri))
    columns = list(sorted_runs(by_sql))
    pd.testing.assert_frame_equal(sorted_runs(by_sql), sorted_runs(by_client)[columns], check_dtype=False)
    pd.testing.assert_frame_equal(sorted_runs(by_sql), sorted_runs(direct)[columns], check_dtype=False)
    order = ["run_id", "metric", "epoch"]
    first, second = (runs.epochs.sort_values(order).reset_index(drop=True) for runs in (by_sql, by_client))
    pd.testing.assert_frame_equal(first, second[list(first)], check_dtype=False)
    # 2 methods x (2 complete trials of 3 epochs, 1 pruned of 1) and (4 finals of 3 epochs, two histories)
    assert len(by_sql.epochs) == 2 * (2 * 3 + 1 + 4 * 3 * 2)


def test_values_come_back_typed(store) -> None:
    runs = read.read(["synthetic"], store(odd_values(SMALL)))
    first = runs.of("trial").sort_values("trial").iloc[0]
    assert math.isnan(first["val/loss"]) and first["train/loss"] == math.inf
    assert isinstance(first["params"]["lr"], float)
    assert first["fraction"] == 1.0 and first["trial"] == 0
    assert [read.parse(text) for text in ("3", "3.0", "1e-05", "a word")] == [3, 3.0, 1e-5, "a word"]
    assert isinstance(read.parse("3"), int)


def test_only_current_runs_count(store) -> None:
    made = rs.runs(SMALL)
    made[3] = rs.replace(made[3], current="false")
    runs = read.read(["synthetic"], store(made))
    assert runs.left_out == 1
    assert len(runs.runs) == len(made) - 2  # the launch run is no training


def test_a_store_or_suite_that_is_not_there(tmp_path: Path, store, empty_database: Path) -> None:
    uri = store(rs.runs(SMALL))
    with pytest.raises(UserError, match=r"given 'sintetic'; allowed: .*synthetic; did you mean 'synthetic'"):
        read.read(["sintetic"], uri)
    with pytest.raises(UserError, match="there is none yet"):
        read.read(["synthetic"], f"sqlite:///{empty_database}")
    missing = tmp_path / "no" / "mlflow.db"
    with pytest.raises(UserError, match="an MLflow store that exists"):
        read.read(["synthetic"], f"sqlite:///{missing}")
    assert not missing.exists()
    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(UserError, match="a database of MLflow's"):
        read.read(["synthetic"], f"sqlite:///{other}")


def test_a_server_that_does_not_answer_is_said_at_once_and_without_its_password() -> None:
    with pytest.raises(UserError) as raised:
        read.read(["synthetic"], "http://me:secret@127.0.0.1:9")
    assert "secret" not in str(raised.value) and "127.0.0.1:9" in str(raised.value)


def test_mixed_contents_of_a_data_set_are_refused(store) -> None:
    other = dataclasses.replace(SMALL, suite="other", dataset_hash="f" * 64)
    uri = store([*rs.runs(SMALL), *rs.runs(other)])
    assert len(read.read(["other"], uri).runs)
    with pytest.raises(UserError, match="digits: .*, ffffffff'; allowed: one content"):
        read.read(["synthetic", "other"], uri)


def test_plans_are_read_from_artifacts_else_from_the_launch_folder(store, tmp_path: Path) -> None:
    plan = rs.plan(SMALL, pairs=[{"teacher": {"model": "resnet26", "weights": "w.safetensors"}}])
    plan["facts"]["note"] = "JPEG re-encoded"
    (tmp_path / "with").mkdir()
    uri = store(rs.runs(SMALL), {"synthetic": plan}, tmp_path / "with")
    runs = read.read(["synthetic"], uri)
    found = plans.read(runs.launches, ["synthetic"], uri)
    cell = plans.Cell("synthetic", "hinton", "resnet14->resnet8w4", 1.0)
    assert (found.finals[cell], found.trials[cell], found.spaces[cell]["lr"]["scale"]) == (2, 3, "log")
    assert found.environment["synthetic"]["torch"] == "2.13.0"
    assert found.notes[0] == "digits: JPEG re-encoded" and "resnet26 was imported" in found.notes[1]
    assert found.missing == ()

    uri = store(rs.runs(SMALL))
    launches = read.read(["synthetic"], uri).launches
    assert plans.read(launches, ["synthetic"], uri).missing == ("synthetic",)
    folder = next((tmp_path / "with" / "artifacts").iterdir())
    assert plans.read(launches, ["synthetic"], uri, folder).finals == found.finals
