"""Operations in a real SQLite store: one run per key, nothing twice, nothing lost."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.tracking.operations import LAUNCH, Current, Dataset, Text, Write
from kdbench.tracking.store import Store
from kdbench.tracking.tree import Tree, address_of


@pytest.fixture
def client(home: Home) -> MlflowClient:
    return MlflowClient(home.mlflow_uri)


@pytest.fixture
def open_store(home: Home) -> Callable[..., Store]:
    """A store as a new launch opens it."""
    return lambda suite="small": Store(home.mlflow_uri, suite, home.artifacts)


@pytest.fixture
def tree(small: Plan) -> Tree:
    return Tree(small, "abc123")


def runs(client: MlflowClient, suite: str = "small") -> dict[str, MlflowRun]:
    """The experiment's runs by name; a name that is there twice fails."""
    experiment = client.get_experiment_by_name(suite)
    found = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in found]
    assert len(names) == len(set(names)), sorted(names)
    return dict(zip(names, found, strict=True))


def steps(client: MlflowClient, run: MlflowRun, metric: str = "val/accuracy") -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))


TRIAL = "original · resnet14→resnet8w4 · 100 % · #00"


def test_the_tree_hangs_together(small: Plan, tree: Tree, make: Any, open_store: Any, client: Any) -> None:
    store, study = open_store(), small.studies[0]
    run, record = make.trial(small, study, 0)
    for write in (tree.launch(), tree.study(study), tree.run(run, record), tree.run(run, make.done(record))):
        store.apply(write)
    found = runs(client)
    launch, search, trial = (found[name] for name in ("launch · small", TRIAL[:-6], TRIAL))
    assert search.data.tags["mlflow.parentRunId"] == launch.info.run_id
    assert trial.data.tags["mlflow.parentRunId"] == search.info.run_id
    assert (trial.info.status, launch.info.status) == ("FINISHED", "RUNNING")
    assert (trial.info.start_time, trial.info.end_time) == (1_700_000_000_000, 1_700_000_002_000)
    assert trial.data.params["lr"] == "0.01" and trial.data.metrics["time/train_s"] == 1.5
    assert steps(client, trial) == [1, 2, 3]
    assert not [name for name, value in trial.data.tags.items() if value == ""]


def test_epochs_stream_in_and_the_record_adds_what_is_missing(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    store, (run, record) = open_store(), make.trial(small, small.studies[0], 0)
    store.apply(tree.run(run, record))
    first, second, _ = make.history(3)
    for epoch in (first, second, first):
        store.apply(tree.epoch(run, epoch))
    assert steps(client, runs(client)[TRIAL]) == [1, 2]
    store.apply(tree.run(run, make.done(record)))
    assert steps(client, runs(client)[TRIAL]) == [1, 2, 3], "only steps beyond the last one"


def test_everything_again_changes_nothing(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    operations: list[Any] = [tree.launch(), *(tree.study(study) for study in small.studies)]
    for study in small.studies:
        for number in range(2):
            run, record = make.trial(small, study, number)
            operations += [tree.run(run, record), *(tree.epoch(run, epoch) for epoch in make.history(3))]
            operations.append(tree.run(run, make.done(record)))
        for run, record in make.tuned(small, study):
            operations += [tree.run(run, make.done(record)), Dataset(address_of(run), "digits", "abc", "{}")]
    operations.append(Text(LAUNCH, "a: 1\n", "suite.yaml"))

    def state() -> Any:
        return {
            name: (run.info.run_id, run.info.status, run.info.end_time, run.data.tags, run.data.params)
            + (steps(client, run), len(run.inputs.dataset_inputs))
            for name, run in runs(client).items()
        }

    store = open_store()
    for operation in operations:
        store.apply(operation)
    before = state()
    for again in (store, open_store()):
        for operation in operations:
            again.apply(operation)
        assert state() == before


def test_a_run_is_adopted_by_key_after_a_crash(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    store = open_store()
    store.apply(tree.run(run, record))
    store.apply(tree.epoch(run, make.history(3)[0]))
    before = runs(client)[TRIAL].info.run_id
    later = open_store()
    later.apply(tree.run(run, record))
    for epoch in make.history(3):
        later.apply(tree.epoch(run, epoch))
    later.apply(tree.run(run, make.done(record)))
    found = runs(client)[TRIAL]
    assert found.info.run_id == before and steps(client, found) == [1, 2, 3]


def test_an_epoch_of_an_unknown_run_waits_for_the_record(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    store, (run, record) = open_store(), make.trial(small, small.studies[0], 0)
    store.apply(tree.epoch(run, make.history(1)[0]))
    assert runs(client) == {}
    store.apply(tree.run(run, make.done(record)))
    assert steps(client, runs(client)[TRIAL]) == [1, 2, 3]


def test_a_failed_final_is_taken_up_again(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    run, record = make.tuned(small, small.studies[0])[0]
    failed = make.done(record, state="failed", reason="oom", history=make.history(3)[:1], test={})
    open_store().apply(tree.run(run, failed))
    (found,) = runs(client).values()
    assert found.info.status == "FAILED" and found.data.tags["kdbench.reason"] == "oom"
    store = open_store()
    store.apply(tree.run(run, record))
    (found,) = runs(client).values()
    assert found.info.status == "RUNNING" and "kdbench.reason" not in found.data.tags
    store.apply(tree.run(run, make.done(record)))
    (found,) = runs(client).values()
    assert found.info.status == "FINISHED" and found.data.metrics["test/accuracy"] == pytest.approx(0.89)
    assert steps(client, found) == [1, 2, 3]


def test_a_result_of_another_suite_is_marked_and_its_cost_counted_once(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    done = make.done(record)
    open_store("first").apply(tree.run(run, record))
    open_store("first").apply(tree.run(run, done, reused=True))
    open_store("second").apply(tree.run(run, done, reused=True))
    open_store("third").apply(tree.run(run, done, reused=True))
    marks = [
        runs(client, suite)[TRIAL].data.tags.get("kdbench.reused") for suite in ("first", "second", "third")
    ]
    assert marks == [None, "true", "true"]


def test_a_result_of_another_pair_is_marked(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    store, (run, record) = open_store(), make.trial(small, small.studies[0], 0)
    other = dataclasses.replace(run, pair="resnet20->resnet8w4")
    store.apply(tree.run(run, make.done(record), reused=True))
    store.apply(Write(run=address_of(other), name="other", tags={"kdbench.kind": "trial"}, reused=True))
    found = runs(client)
    assert "kdbench.reused" not in found[TRIAL].data.tags
    assert found["other"].data.tags["kdbench.reused"] == "true"


def test_runs_of_an_older_plan_are_not_current(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    store = open_store()
    store.apply(tree.launch())
    for number in range(2):
        run, record = make.trial(small, small.studies[0], number)
        store.apply(tree.run(run, make.done(record)))
    later = open_store()
    later.apply(Current((address_of(run),)))
    current = {name: run.data.tags["kdbench.current"] for name, run in runs(client).items()}
    assert current == {"launch · small": "true", TRIAL: "false", TRIAL.replace("#00", "#01"): "true"}
    run, record = make.trial(small, small.studies[0], 0)
    later.apply(tree.run(run, make.done(record)))
    assert runs(client)[TRIAL].data.tags["kdbench.current"] == "true", "planned again"


def test_a_run_that_a_user_deleted_is_made_again(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    store, (run, record) = open_store(), make.trial(small, small.studies[0], 0)
    store.apply(tree.run(run, record))
    client.delete_run(runs(client)[TRIAL].info.run_id)
    ended = tree.run(run, make.done(record))
    with pytest.raises(Exception, match="deleted"):
        store.apply(ended)
    store.apply(ended)
    assert steps(client, runs(client)[TRIAL]) == [1, 2, 3]


def test_a_creation_whose_answer_was_lost_is_found(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (run, record) = open_store(), make.trial(small, small.studies[0], 0)
    store.apply(tree.launch())
    create = store.client.create_run

    def lost(*arguments: Any) -> Any:
        create(*arguments)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(store.client, "create_run", lost)
    with pytest.raises(ConnectionError):
        store.apply(tree.run(run, record))
    monkeypatch.undo()
    store.apply(tree.run(run, make.done(record)))
    assert steps(client, runs(client)[TRIAL]) == [1, 2, 3]


def test_a_run_that_mlflow_made_twice_stays_once(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    write = tree.run(run, record)
    open_store().apply(write)
    experiment = client.get_experiment_by_name("small").experiment_id
    client.create_run(experiment, write.started, {**write.tags, "kdbench.reason": "x"}, write.name)
    open_store().apply(tree.run(run, make.done(record)))
    assert steps(client, runs(client)[TRIAL]) == [1, 2, 3]


def test_an_experiment_in_the_bin_is_restored(tree: Tree, open_store: Any, client: Any) -> None:
    open_store().apply(tree.launch())
    client.delete_experiment(client.get_experiment_by_name("small").experiment_id)
    open_store().apply(tree.launch())
    assert client.get_experiment_by_name("small").lifecycle_stage == "active"


def test_nan_and_many_metrics_survive(
    small: Plan, tree: Tree, make: Any, open_store: Any, client: Any
) -> None:
    run, record = make.trial(small, small.studies[0], 0)
    history = make.history(600)
    nan = dataclasses.replace(history[-1], metrics={"val/accuracy": 0.1, "val/loss": float("nan")})
    open_store().apply(
        tree.run(run, make.done(record, state="diverged", reason="nan", history=(*history[:-1], nan)))
    )
    found = runs(client)[TRIAL]
    assert steps(client, found) == list(range(1, 601)), "more metrics than one call takes"
    assert found.data.metrics["val/loss"] != found.data.metrics["val/loss"]
    assert found.info.status == "FAILED"


def test_the_data_set_is_an_input(small: Plan, tree: Tree, open_store: Any, client: Any) -> None:
    store = open_store()
    store.apply(tree.launch())
    store.apply(Dataset(LAUNCH, "digits", small.facts.content_hash[:32], '{"source": "builtin"}'))
    (run,) = runs(client).values()
    (given,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", small.facts.content_hash[:32])
