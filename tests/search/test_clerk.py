"""What the driver decides is written down in order, and where it cannot be, the driver hears of it."""

import functools
import threading

import pytest

from kdbench import plan as planning
from kdbench import records
from kdbench.home import Home
from kdbench.records import Epoch, Record
from kdbench.search.clerk import Broken, Clerk
from kdbench.search.journal import Journal
from kdbench.search.store import Store


class Witness:
    """A Tracker that looks what the records say when it is told of a run."""

    def __init__(self, home):
        self.home, self.seen = home, []

    def opened(self, run, record):
        self.seen.append(("opened", records.read(self.home.results / f"{record.key}.json").state))

    def epoch(self, run, epoch):
        self.seen.append(("epoch", epoch.epoch))

    def ended(self, run, record):
        self.seen.append(("ended", records.read(self.home.results / f"{record.key}.json").state))


@pytest.fixture
def plan(make_plan):
    return make_plan(methods=["original"])


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "state")


@pytest.fixture
def witness(home):
    return Witness(home)


@pytest.fixture
def clerk(plan, home, witness):
    journal = Journal(home.launch("tiny") / "optuna.journal", plan.studies, {})
    return Clerk(Store(plan, home), journal, witness)


@pytest.fixture
def trial(plan):
    """The runs and the record of trial 0."""
    (study,) = plan.studies
    run = planning.trial_run(plan, study, 0, study.enqueued[0])
    sampled = study.enqueued[0]
    record = Record(run.key, "trial", "running", "original", {}, 1, study.key, 0, sampled, started=5.0)
    return (run,), record


EPOCH = Epoch(1, "distil", 1.0, {"val/accuracy": 0.7, "val/loss": 0.3})


def test_the_record_is_there_before_anybody_else_hears_of_it(clerk, trial, home, witness):
    runs, record = trial
    ended = records.Record(**{**vars(record), "state": "complete", "history": (EPOCH,), "ended": 9.0})
    (home.checkpoints / record.key).mkdir(parents=True)
    clerk.do(functools.partial(clerk.opened, runs, record))
    clerk.do(functools.partial(clerk.epoch, runs, EPOCH))
    clerk.do(functools.partial(clerk.ended, runs, ended))
    clerk.close()
    assert witness.seen == [("opened", "running"), ("epoch", 1), ("ended", "complete")]
    written = records.read(home.results / f"{record.key}.json")
    assert (written.started, written.ended) == (5.0, 9.0)
    assert not (home.checkpoints / record.key).exists()


def test_checkpoints_stay_until_the_result_is_written(clerk, trial, home):
    runs, record = trial
    (home.checkpoints / record.key).mkdir(parents=True)
    home.results.write_text("the store is gone")
    clerk.do(functools.partial(clerk.ended, runs, record))
    with pytest.raises(Broken):
        clerk.close()
    assert (home.checkpoints / record.key).exists()


def test_a_store_that_is_gone_is_told_by_the_next_word_and_at_the_end(clerk, trial, home, witness):
    runs, record = trial
    home.results.parent.mkdir(parents=True, exist_ok=True)
    home.results.write_text("the store is gone")
    clerk.do(functools.partial(clerk.opened, runs, record))
    reached = threading.Event()
    with pytest.raises(Broken, match=str(home.results)):
        for _ in range(10_000):  # the clerk is another thread: at the latest when its queue is full
            clerk.do(reached.set)
    with pytest.raises(Broken):
        clerk.check()
    with pytest.raises(Broken):
        clerk.close()
    assert not reached.is_set(), "after a failure nothing is written: order is a promise"
    assert witness.seen == []


def test_what_is_no_fault_of_a_disk_is_raised_as_it_is(clerk):
    clerk.do(lambda: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        clerk.close()


def test_a_run_that_an_earlier_launch_began_keeps_its_time_of_start(clerk, trial, home):
    runs, record = trial
    records.write(records.Record(**{**vars(record), "started": 2.0}), home.results)
    clerk.do(functools.partial(clerk.opened, runs, record))
    clerk.close()
    assert records.read(home.results / f"{record.key}.json").started == 2.0


def test_a_spoilt_record_is_no_record(clerk, trial, home):
    runs, record = trial
    home.results.mkdir(parents=True)
    (home.results / f"{record.key}.json").write_text('{"key": "half a')
    clerk.do(functools.partial(clerk.opened, runs, record))
    clerk.close()
    assert records.read(home.results / f"{record.key}.json") == record
