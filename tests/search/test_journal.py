import contextlib
import json

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kdbench.search.journal import Journal, name
from kdbench.search.trial import Trial

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


def opened(path, study):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=name(study), storage=storage)


@pytest.fixture
def write():
    """Journals that are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda *args: stack.enter_context(contextlib.closing(Journal(*args)))


@pytest.fixture
def study(make_plan):
    return make_plan().studies[1]


def trial(study, number, state, **more):
    values = {"value": 0.7, "steps": {1: 0.5, 3: 0.7}, "began": 1e9, "finished": 1e9 + 60}
    return Trial(number, f"key{number}", state, study.enqueued[0], **{**values, **more})


def test_another_process_reads_what_was_written_live(tmp_path, write, study):
    path = tmp_path / "launch" / "optuna.journal"
    journal = write(path, [study], {})
    journal.started(study.key, trial(study, 0, "running", steps={}, value=None))
    journal.report(study.key, 0, 1, 0.5)
    (live,) = opened(path, study).trials
    assert (live.state, live.intermediate_values, live.params) == (
        TrialState.RUNNING,
        {1: 0.5},
        dict(study.enqueued[0]),
    )
    journal.tell(study.key, trial(study, 0, "complete"))
    (done,) = opened(path, study).trials
    assert (done.state, done.value, done.intermediate_values) == (TrialState.COMPLETE, 0.7, {1: 0.5, 3: 0.7})


@pytest.mark.parametrize("state", STATES)
def test_told_live_or_rebuilt_a_trial_is_the_same(tmp_path, write, study, state):
    ended = trial(study, 0, state)
    live = write(tmp_path / "live", [study], {})
    live.started(study.key, trial(study, 0, "running"))
    if state != "running":
        live.tell(study.key, ended)
    write(tmp_path / "rebuilt", [study], {study.key: [ended]})
    (one,), (two,) = opened(tmp_path / "live", study).trials, opened(tmp_path / "rebuilt", study).trials
    assert one.state == two.state == STATES[state]
    assert one.value == two.value
    assert one.user_attrs == two.user_attrs == {"number": 0, "key": "key0"}


def test_a_diverged_trial_is_pruned_without_a_value(tmp_path, write, study):
    write(tmp_path / "j", [study], {study.key: [trial(study, 0, "diverged")]})
    (diverged,) = opened(tmp_path / "j", study).trials
    assert (diverged.value, diverged.intermediate_values) == (None, {})


def test_a_pruned_trial_keeps_its_values(tmp_path, write, study):
    write(tmp_path / "j", [study], {study.key: [trial(study, 0, "pruned")]})
    (pruned,) = opened(tmp_path / "j", study).trials
    assert (pruned.value, pruned.intermediate_values) == (0.7, {1: 0.5, 3: 0.7})


def test_a_torn_line_and_a_stale_lock_of_a_killed_launch_do_no_harm(tmp_path, write, study):
    path = tmp_path / "optuna.journal"
    path.write_text('{"op_code":0,"work')
    (tmp_path / "optuna.journal.lock").symlink_to(path)
    journal = write(path, [study], {study.key: [trial(study, 0, "complete")]})
    journal.started(study.key, trial(study, 1, "running"))
    assert [t.state for t in opened(path, study).trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert not (tmp_path / "optuna.journal.lock").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir() if "journal" in p.name) == ["optuna.journal"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_numbers_may_have_holes(tmp_path, write, study):
    trials = [trial(study, number, "complete") for number in (0, 2, 5)]
    journal = write(tmp_path / "j", [study], {study.key: trials})
    journal.started(study.key, trial(study, 1, "running"))
    journal.tell(study.key, trial(study, 1, "complete"))
    assert [t.user_attrs["number"] for t in opened(tmp_path / "j", study).trials] == [0, 2, 5, 1]
