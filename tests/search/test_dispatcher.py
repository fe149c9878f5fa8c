"""The dispatcher played through without Ray: what it hands out, and what it makes of what comes back."""

from dataclasses import asdict, replace

import pytest

from kdbench import plan as planning
from kdbench.records import Epoch, Record
from kdbench.search.dispatcher import KILLS, Dispatcher
from kdbench.search.ledger import Ledger
from kdbench.search.study import EQUAL_ERRORS
from kdbench.search.work import Message, Share
from kdbench.training import Outcome

SLOTS = 2


class Recorded:
    """Books that remember."""

    def __init__(self):
        self.written = {}
        self.log = []  # every record as it was written
        self.ends = []
        self.names = []
        self.notes = []
        self.studies = []

    def opened(self, runs, record):
        assert record.state == "running"
        self.written[record.key] = record
        self.log.append(record)

    def epoch(self, runs, epoch):
        pass

    def ended(self, runs, record):
        self.written[record.key] = record
        self.log.append(record)
        self.ends.append(record)

    def known_as(self, runs, key):
        self.names += [(run, key) for run in runs]

    def study_ended(self, studies, best):
        self.studies.append((studies[0].key, best))

    def note(self, message):
        self.notes.append(message)


class Game:
    """One launch without Ray: hands out, trains at once, tells back."""

    def __init__(self, plan, known=()):
        self.plan, self.books = plan, Recorded()
        self.books.written = {record.key: record for record in known}
        self.ledger = Ledger(plan, known)
        self.dispatcher = Dispatcher(plan, self.ledger, self.books, {"": Share()})
        self.order = []

    def take(self):
        work = self.dispatcher.next(SLOTS)
        if work:
            self.order.append(work)
        return work

    def train(self, work, outcome=None, accuracy=None, upto=None):
        """Its epochs, then its end. Returns whether the scheduler stopped it."""
        epochs = curve(work, accuracy)[:upto]
        if outcome is None or outcome.state == "diverged":
            for epoch in epochs:
                if self.dispatcher.report(work.key, Message((epoch,), busy=float(epoch.epoch))):
                    return True
        outcome = outcome or Outcome("complete", history=tuple(epochs))
        self.dispatcher.ended(work.key, Message(outcome=asdict(outcome), busy=9.0))
        return False

    def play(self, rule=lambda work: None):
        """To the end; `rule` gives outcomes other than a complete training."""
        while work := self.take():
            self.train(work, rule(work))
        assert not self.dispatcher.flights
        return self

    @property
    def records(self):
        return list(self.books.written.values())

    def of(self, kind):
        return [record for record in self.records if record.kind == kind]


def curve(work, accuracy=None):
    top = accuracy if accuracy is not None else 0.9 - abs(work.job.recipe.lr - 0.1)
    epochs = work.job.recipe.epochs
    return [
        Epoch(n, "distil", float(n), {"val/accuracy": top * n / epochs, "val/loss": 1 - top})
        for n in range(1, epochs + 1)
    ]


def failing(message="ValueError: no"):
    return Outcome("failed", "error", message)


def test_a_plan_is_played_to_its_end_with_every_key_once(make_plan):
    plan = make_plan()
    game = Game(plan).play()
    keys = [work.key for work in game.order]
    assert len(keys) == len(set(keys))
    trials = game.of("trial")
    assert sorted((t.study, t.number) for t in trials) == sorted(
        (s.key, n) for s in plan.studies for n in range(4)
    )
    assert {record.state for record in trials} <= {"complete", "pruned"}
    assert len(game.of("teacher")) == len(plan.teachers) == 1
    rows = len(plan.finals) + len(plan.defaults)
    assert len(plan.defaults) < len(game.of("final")) <= rows
    assert Ledger(plan, game.records).studies[plan.studies[0].key].finished


def test_a_relaunch_over_the_records_has_nothing_to_do(make_plan):
    plan = make_plan()
    first = Game(plan).play()
    again = Game(plan, first.records)
    assert again.take() is None


def test_the_teacher_comes_first_and_methods_without_one_do_not_wait(make_plan):
    game = Game(make_plan())
    first, second, third = game.take(), game.take(), game.take()
    assert (first.kind, second.job.method, second.kind) == ("teacher", "original", "trial")
    assert third is None or third.job.method == "original"
    game.train(first)
    assert game.take().job.method == "hinton"


def test_trial_0_is_the_default_point_and_is_never_pruned(make_plan):
    plan = make_plan(search={"trials": 6, "grace_epochs": 1})
    game = Game(plan)
    while work := game.take():
        record = game.dispatcher.flights[work.key].record
        game.train(work, accuracy=0.1 if record.number == 0 else 0.9)
    zeros = [record for record in game.of("trial") if record.number == 0]
    assert [dict(record.sampled) for record in zeros] == [dict(study.enqueued[0]) for study in plan.studies]
    assert {record.state for record in zeros} == {"complete"}


def test_a_trial_is_pruned_at_its_rung_and_says_so(make_plan):
    plan = make_plan(methods=["original"], search={"trials": 8, "grace_epochs": 1})
    game = Game(plan)
    best, worse = game.take(), game.take()
    game.train(best, accuracy=0.9)
    assert game.train(worse, accuracy=0.3)
    record = game.books.written[worse.key]
    assert (record.state, record.reason, len(record.history)) == ("pruned", None, 1)
    assert record.rungs == {"1": pytest.approx(0.3 / 9)}
    assert record.time["time/train_s"] == 1.0
    assert game.dispatcher.report(best.key, Message())  # of an ended run: stop


def test_studies_advance_together(make_plan):
    game = Game(make_plan(methods=["original", "hinton", "fitnet"], search={"trials": 8, "grace_epochs": 1}))
    game.train(game.take())  # the teacher
    for _ in range(12):
        game.train(game.take())
    begun = [search.advance for search in game.dispatcher.studies.values()]
    assert max(begun) - min(begun) <= 1 / 8


def test_final_runs_follow_their_study_and_fill_while_others_search(make_plan):
    plan = make_plan()
    game = Game(plan)
    kinds = [work.kind for work in game.play().order]
    first_final = kinds.index("final")
    assert all(kind == "final" for kind in kinds[first_final:])
    tuned = {run.key for slot, run in game.dispatcher.finals.of_slot.items()}
    assert {work.key for work in game.order if work.kind == "final"} == tuned | {
        run.key for run, _ in plan.defaults
    }


def test_waiting_trials_of_one_study_leave_room_for_final_runs(make_plan):
    plan = make_plan(methods=["original"], search={"trials": 4, "grace_epochs": 1})
    game = Game(plan)
    first = game.take()
    assert first.kind == "trial"
    assert game.take().kind == "final"  # a default one: the sampler learns more from waiting
    assert game.take().kind == "final"


def test_equal_default_and_best_are_one_run_under_both_names(make_plan):
    plan = make_plan(methods=["original"])
    game = Game(plan)
    while work := game.take():
        number = game.dispatcher.flights[work.key].record.number
        game.train(work, accuracy=0.9 if number == 0 else 0.5)
    finals = game.of("final")
    assert len(finals) == len(plan.defaults) == 2
    configs = {run.config for final in game.dispatcher.finals.known.values() for run in final.runs}
    assert configs == {"tuned,default"}


def test_a_diverged_trial_is_a_result_and_uses_its_number(make_plan):
    plan = make_plan(methods=["original"])

    def rule(work):
        return Outcome("diverged", "nan", "no number") if work.kind == "trial" and work.job.seed % 2 else None

    game = Game(plan).play(rule)
    assert len(game.of("trial")) == 4
    assert all(r.reason == "nan" for r in game.of("trial") if r.state == "diverged")


def test_a_method_bug_fails_its_own_study_only(make_plan):
    plan = make_plan(search={"trials": 8, "grace_epochs": 1})
    game = Game(plan).play(
        lambda work: failing(f"ValueError: shape {work.job.seed}") if work.job.method == "hinton" else None
    )
    broken = [record for record in game.of("trial") if record.method == "hinton"]
    assert EQUAL_ERRORS <= len(broken) < 8
    assert {record.reason for record in broken} == {"error"}
    assert len([record for record in game.of("trial") if record.method == "original"]) == 8
    lost = [record for record in game.of("final") if record.reason == "no-trial"]
    assert len(lost) == 2
    assert all(record.state == "failed" and "hinton" == record.method for record in lost)
    assert any("given up" in note for note in game.books.notes)


def test_unequal_errors_or_errors_beside_results_do_not_end_a_study(make_plan):
    plan = make_plan(methods=["original"], search={"trials": 8, "grace_epochs": 1})
    names = iter("abcdefgh")
    game = Game(plan).play(
        lambda work: failing(f"ValueError: {next(names)}") if work.kind == "trial" else None
    )
    assert len(game.of("trial")) == 8
    first = []

    def rule(work):
        if work.kind != "trial" or not first:
            first.append(work)
            return None
        return failing()

    assert len(Game(plan).play(rule).of("trial")) == 8


def test_a_relaunch_tries_a_study_that_was_given_up_again(make_plan):
    plan = make_plan(methods=["original"], search={"trials": 8, "grace_epochs": 1})
    first = Game(plan).play(lambda work: failing() if work.kind == "trial" else None)
    assert len(first.of("trial")) < 8
    mended = Game(plan, first.records).play()
    trials = mended.of("trial")
    assert len(trials) == 8
    assert sum(record.state == "failed" for record in trials) == len(first.of("trial"))
    assert all(run.result.counts for run in rows(plan, mended) if run.run.config != "default")


def rows(plan, game):
    from kdbench.search.standing import rows_of

    return list(rows_of(plan, game.ledger, game.dispatcher.finals))


def test_a_failed_teacher_takes_its_studies_with_it_and_nothing_else(make_plan):
    plan = make_plan()
    game = Game(plan).play(lambda work: failing("OSError: disk") if work.kind == "teacher" else None)
    assert {record.method for record in game.of("trial")} == {"original"}
    missing = [row.missing for row in rows(plan, game) if not row.done]
    assert len(missing) == 4
    assert any("teacher" in line and "disk" in line for line in missing)
    again = Game(plan, game.records)
    assert again.take().kind == "teacher"


def test_a_diverged_teacher_is_not_trained_again(make_plan):
    plan = make_plan()
    game = Game(plan).play(lambda work: Outcome("diverged", "nan") if work.kind == "teacher" else None)
    assert all(work.kind != "teacher" for work in Game(plan, game.records).play().order)


def test_a_diverged_final_is_a_result_and_a_failed_one_is_tried_by_the_next_launch(make_plan):
    plan = make_plan(methods=["original"])
    seeds = sorted({slot.seed for slot in plan.finals})

    def rule(work):
        if work.kind == "final":
            return Outcome("diverged", "nan") if work.job.seed == seeds[0] else failing()
        return None

    first = Game(plan).play(rule)
    again = Game(plan, first.records).play()
    assert {work.job.seed for work in again.order} == {seeds[1]}
    assert again.order


def test_out_of_memory_is_tried_once_more_alone_and_last(make_plan):
    plan = make_plan(methods=["original"])
    oom = Outcome("failed", "oom", "CUDA out of memory")
    game = Game(plan)
    victim = game.take()
    game.train(victim, oom)
    order = []
    while work := game.take():
        order.append(work)
        game.train(work, oom if work.key == victim.key else None)
    assert sum(work.key == victim.key for work in order) == 1
    retried = next(work for work in order if work.key == victim.key)
    assert retried.alone
    record = game.books.written[victim.key]
    assert (record.state, record.reason) == ("failed", "oom")
    assert game.dispatcher.restarts == 1


def test_a_lost_worker_is_tried_again_at_once_and_three_times(make_plan):
    game = Game(make_plan(methods=["original"]))
    work = game.take()
    for _ in range(KILLS):
        game.dispatcher.lost(work.key, "worker", "killed")
        assert game.take() == work
    game.dispatcher.lost(work.key, "worker", "the worker died")
    record = game.books.written[work.key]
    assert (record.state, record.reason, record.message) == ("failed", "killed", "the worker died")


def test_a_lost_node_is_not_the_runs_fault(make_plan):
    game = Game(make_plan(methods=["original"]))
    work = game.take()
    for _ in range(3 * KILLS):
        game.dispatcher.lost(work.key, "node", "gone")
        assert game.take().key == work.key
    game.train(work)
    assert game.books.written[work.key].state in ("complete", "pruned")


def test_a_machine_that_fails_a_run_ends_the_launch_and_fails_no_run(make_plan):
    game = Game(make_plan(methods=["original"]))
    work = game.take()
    for _ in range(KILLS):
        game.dispatcher.lost(work.key, "machine", "node7: OSError: disk full")
        assert game.take() == work
    assert not game.dispatcher.broken
    game.dispatcher.lost(work.key, "machine", "node7: OSError: disk full")
    assert game.dispatcher.broken == "node7: OSError: disk full"
    assert game.books.written[work.key].state == "running"
    assert all("disk full" in note for note in game.books.notes) and len(game.books.notes) == KILLS
    again = Game(game.plan, game.records).play()
    assert again.books.written[work.key].state == "complete"


def test_an_error_outside_the_training_is_not_tried_again(make_plan):
    game = Game(make_plan(methods=["original"]))
    work = game.take()
    game.dispatcher.lost(work.key, "error", "ModuleNotFoundError: kdbench")
    assert game.books.written[work.key].reason == "error"


def test_seconds_of_lost_attempts_are_counted(make_plan):
    game = Game(make_plan(methods=["original"]))
    work = game.take()
    first = curve(work)
    game.dispatcher.report(work.key, Message(first[:1], busy=5.0))
    game.dispatcher.lost(work.key, "worker", "killed")
    game.take()
    game.dispatcher.report(work.key, Message(first[:2], resumed=True, busy=1.0))
    game.dispatcher.ended(
        work.key, Message(outcome=asdict(Outcome("complete", history=tuple(first))), busy=3.0)
    )
    assert game.dispatcher.busy == 8.0


def interrupted(plan, *, at):
    """The records of a launch that was killed when `at` runs had been handed out, two of them under way."""
    game = Game(plan)
    waiting = []
    while len(game.order) < at and (work := game.take()):
        waiting.append(work)
        if len(waiting) > SLOTS:
            game.train(waiting.pop(0))
    return game.records


@pytest.mark.parametrize("at", [1, 3, 6, 9, 12])
def test_a_killed_launch_is_finished_with_the_same_trials(make_plan, at):
    plan = make_plan()
    known = interrupted(plan, at=at)
    running = {record.key for record in known if record.state == "running" and record.kind == "trial"}
    game = Game(plan, known).play()
    assert running <= {work.key for work in game.order}
    ended = {record.key for record in known if record.state != "running"}
    assert not ended & {work.key for work in game.order}
    trials = game.of("trial")
    assert sorted((t.study, t.number) for t in trials) == sorted(
        (s.key, n) for s in plan.studies for n in range(4)
    )
    assert all(row.done for row in rows(plan, game))
    assert len({work.key for work in game.order}) == len(game.order)


def test_a_driver_killed_between_decision_and_writing_loses_nothing(make_plan):
    """The clerk writes behind the driver's back: at any moment only a beginning of what was decided is on
    disk.
    """
    plan = make_plan(methods=["original", "hinton"])
    first = Game(plan)
    waiting = []
    while True:
        while len(waiting) < 2 * SLOTS and (work := first.take()):
            waiting.append(work)
        if not waiting:
            break
        first.train(waiting.pop(0))
    log = first.books.log
    assert {"pruned", "complete"} <= {record.state for record in log}
    budget = sorted((study.key, number) for study in plan.studies for number in range(4))
    for count in range(len(log)):
        known = {record.key: record for record in log[:count]}
        game = Game(plan, known.values()).play()
        keys = [work.key for work in game.order]
        ended = {key for key, record in known.items() if record.state != "running"}
        assert len(keys) == len(set(keys)), "no key twice"
        assert not ended & set(keys), "no result again"
        assert set(known) - ended <= set(keys), "whatever was written as begun is ended"
        assert sorted((trial.study, trial.number) for trial in game.of("trial")) == budget
        assert all(row.done for row in rows(plan, game))
        planned = {row.run.key for row in rows(plan, game)}
        assert {record.key for record in game.of("final")} == planned, "no final run that nobody planned"


def test_a_resumed_trial_is_judged_where_it_stands_and_not_where_it_was(make_plan):
    plan = make_plan(methods=["original"], search={"trials": 4, "grace_epochs": 1, "reduction_factor": 2})
    game = Game(plan)
    game.train(game.take(), accuracy=0.9)
    works = [game.take(), game.take()]
    works = [work for work in works if work.kind == "trial"] or [game.take()]
    worse = works[0]
    known = game.records
    for count, stops in ((1, True), (2, True), (3, False), (4, True)):  # milestones 1, 2, 4, 8
        again = Game(plan, known)
        while again.take().key != worse.key:
            pass
        message = Message(tuple(curve(worse, 0.1)[:count]), resumed=True, busy=1.0)
        assert again.dispatcher.report(worse.key, message) == stops


def test_what_a_live_driver_knows_is_not_judged_again(make_plan):
    game = Game(make_plan(methods=["original"], search={"trials": 8, "grace_epochs": 1}))
    first, second = game.take(), game.take()
    game.dispatcher.report(
        second.key, Message(curve(second, 0.1)[:1], busy=1.0)
    )  # first at the rung: goes on
    game.dispatcher.report(first.key, Message(curve(first, 0.9)[:1], busy=1.0))
    game.dispatcher.lost(second.key, "worker", "killed")
    assert not game.dispatcher.report(second.key, Message(curve(second, 0.1)[:1], resumed=True, busy=1.0))


def test_raising_the_budget_continues_the_study(make_plan):
    small, large = (make_plan(search={"trials": n, "grace_epochs": 1}) for n in (4, 7))
    assert [study.key for study in small.studies] == [study.key for study in large.studies]
    first = Game(small).play()
    more = Game(large, first.records).play()
    assert (
        sorted({work.key for work in more.order if work.kind == "trial"} & {r.key for r in first.records})
        == []
    )
    assert len(more.of("trial")) == 14


def test_lowering_the_budget_leaves_later_trials_out_of_the_best(make_plan):
    large, small = (make_plan(methods=["original"], search={"trials": n, "grace_epochs": 1}) for n in (6, 2))
    game = Game(large)
    while work := game.take():
        number = game.dispatcher.flights[work.key].record.number
        game.train(work, accuracy=0.5 + 0.05 * max(0, number))
    known = Game(small, game.records)
    assert known.ledger.studies[small.studies[0].key].best.number == 1


def test_studies_of_two_pairs_with_one_key_run_once_and_are_told_twice(make_plan):
    pairs = [{"teacher": name, "student": "resnet8w4"} for name in ("resnet14", "resnet20")]
    plan = make_plan(pairs=pairs, methods=["original"])
    assert len(plan.studies) == 2 and len({study.key for study in plan.studies}) == 1
    game = Game(plan)
    flights = []
    while work := game.take():
        flights.append(game.dispatcher.flights[work.key].runs)
        game.train(work)
    assert len(game.of("trial")) == 4
    assert all({run.pair for run in runs} == {pair.title for pair in plan.suite.pairs} for runs in flights)


def test_reports_of_unknown_runs_are_ignored(make_plan):
    game = Game(make_plan())
    assert game.dispatcher.report("nobody", Message())
    game.dispatcher.ended("nobody", Message())
    game.dispatcher.lost("nobody", "worker", "")


def test_a_final_is_compared_with_its_pairs_teacher(make_plan):
    game = Game(make_plan()).play()
    for work in game.order:
        expected = game.plan.teachers[0].job if work.kind == "final" else None
        assert work.pair_teacher == expected


def test_a_record_says_what_it_takes_to_train_again(make_plan):
    plan = make_plan()
    record = next(r for r in Game(plan).play().of("trial") if r.method == "hinton" and r.number == 1)
    study = next(study for study in plan.studies if study.key == record.study)
    assert record.key == planning.trial_key(study, 1, record.sampled)
    assert set(record.hyperparameters) == {"temperature", "alpha", "lr", "weight_decay"}
    assert record.hyperparameters["lr"] == record.sampled["lr"] == record.job["recipe"]["lr"]
    assert record.slot == 1.0
    assert isinstance(record, Record)
    assert replace(record, job={}) != record
