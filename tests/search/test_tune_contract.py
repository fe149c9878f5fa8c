"""What kdbench uses of Ray Tune that is not public: a new Ray keeps it, or `kdbench.search.tuner` follows."""

import inspect
from types import SimpleNamespace

import pytest
import ray
from ray import tune
from ray.air.execution._internal import RayActorManager
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial
from ray.tune.utils.object_cache import _ObjectCache

from kdbench.search import cluster
from kdbench.search.tuner import PlanScheduler, _Controller, loss_of


def source(function):
    return inspect.getsource(function)


def test_this_is_the_ray_that_the_cures_were_written_for():
    assert ray.__version__ == "2.60.0"


def test_the_controller_has_the_attributes_that_are_used():
    made = source(TuneController.__init__)
    for attribute in ("self._trial_to_actor", "self._actor_manager", "self._actor_cache"):
        assert attribute in made
    assert "self._tune_controller = tune_controller" in source(TrialRunnerWrapper.__init__)
    assert list(inspect.signature(RayActorManager.is_actor_started).parameters) == ["self", "tracked_actor"]
    assert list(inspect.signature(_ObjectCache.increase_max).parameters) == ["self", "key", "by"]


def test_a_cache_keeps_as_many_idle_actors_as_it_was_told():
    cache = _ObjectCache(may_keep_one=True)
    controller = SimpleNamespace(_actor_cache=cache)
    _Controller(SimpleNamespace(_tune_controller=controller)).keep_idle("resources", 2)
    assert [cache.cache_object("resources", actor) for actor in "abc"] == [True, True, False]
    assert list(cache.flush_cached_objects()) == []
    _Controller(SimpleNamespace(_tune_controller=controller)).keep_idle("resources", -2)
    assert list(cache.flush_cached_objects()) == ["a", "b"]


def test_tune_gives_a_free_actor_to_the_trial_that_is_chosen_and_stops_the_trials_own():
    """The defect that `choose_trial_to_run` is there for."""
    reuse = source(TuneController._maybe_reuse_cached_actor)
    assert "_remove_actor(tracked_actor=original_actor)" in reuse
    assert "choose_trial_to_run" in source(TuneController._maybe_add_actors)


def test_a_result_with_done_reaches_neither_scheduler_nor_searcher_before_the_end():
    processed = source(TuneController._process_trial_result)
    assert "trial.should_stop(flat_result)" in processed
    assert processed.index("should_stop") < processed.index("_scheduler_alg.on_trial_result")


def test_the_environment_variables_are_read():
    assert "TUNE_MAX_PENDING_TRIALS_PG" in source(tune_controller._get_max_pending_trials)
    assert "TUNE_PRINT_ALL_TRIAL_ERRORS" in source(TuneController.__init__)
    assert "TUNE_GLOBAL_CHECKPOINT_S" in source(TuneController.__init__)
    assert "TUNE_DISABLE_SIGINT_HANDLER" in source(tune.tune._setup_signal_catching)
    text = "".join(source(module) for module in (tune.tune, tune.utils.callback, ray.train._internal.session))
    assert "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS" in text
    assert all(name.startswith(("TUNE_", "RAY_")) for name in cluster.ENVIRONMENT)


def test_an_error_leaves_its_words_in_a_file_before_the_scheduler_is_told():
    failed = source(TuneController._process_trial_failure)
    assert failed.index("trial.handle_error") < failed.index("_scheduler_alg.on_trial_error")
    assert isinstance(inspect.getattr_static(Trial, "error_file"), property)


DIED = "The actor died unexpectedly before finishing this task.\n"


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        (DIED + "The actor is dead because its worker process has died. SYSTEM_ERROR", "worker"),
        (DIED + "The actor died because its node has died. Node Id: 1", "node"),
        ("The actor 12 is unavailable: RpcError. The task may or may not", "node"),
        ("ray::ImplicitFunc.train() (pid=1)\nModuleNotFoundError: No module named 'kdbench'", "error"),
        (
            "ray::ImplicitFunc.train() (pid=1)\nOSError: [Errno 28]\n\nThe above was the cause\n"
            "kdbench.search.work.MachineFault: node7: OSError: [Errno 28] No space left on device",
            "machine",
        ),
        ("", "worker"),
    ],
)
def test_losses_are_told_apart_by_rays_words(words, loss):
    assert loss_of(words) == loss


class FakeTrial(SimpleNamespace):
    def __hash__(self):
        return hash(self.trial_id)


def trial(name, status=Trial.PENDING):
    return FakeTrial(trial_id=name, status=status, placement_group_factory="one core")


class FakeController:
    """As much of the controller as the scheduler touches."""

    def __init__(self):
        self._trial_to_actor, self._started = {}, set()
        self._actor_cache = _ObjectCache(may_keep_one=True)
        self._actor_manager = SimpleNamespace(is_actor_started=lambda actor: actor in self._started)
        self.wrapped = SimpleNamespace(_tune_controller=self)


@pytest.fixture
def controller():
    return FakeController()


def scheduler(*, keep=True, slots=2):
    kept = SimpleNamespace(keep=keep)
    made = PlanScheduler(
        SimpleNamespace(), SimpleNamespace(now=lambda: slots), lambda: kept.keep, lambda: None
    )
    return made, kept


def test_a_trial_whose_own_actor_is_starting_is_passed_over(controller):
    plan, _ = scheduler()
    starting, waiting, bare = (trial(name) for name in ("starting", "waiting", "bare"))
    for each in (starting, waiting, bare):
        plan.on_trial_add(controller.wrapped, each)
    controller._trial_to_actor |= {starting: "actor 1", waiting: "actor 2"}
    controller._started.add("actor 1")  # has its resources; the other still waits for some
    assert plan.choose_trial_to_run(controller.wrapped) is waiting
    waiting.status = Trial.RUNNING
    assert plan.choose_trial_to_run(controller.wrapped) is bare
    bare.status = Trial.TERMINATED
    assert plan.choose_trial_to_run(controller.wrapped) is None
    starting.status = Trial.RUNNING
    assert plan.choose_trial_to_run(controller.wrapped) is None


def test_a_trial_that_runs_again_is_chosen_again(controller):
    plan, _ = scheduler()
    again = trial("again", Trial.RUNNING)
    plan.on_trial_add(controller.wrapped, again)
    assert plan.choose_trial_to_run(controller.wrapped) is None
    again.status = Trial.PENDING
    plan.on_trial_add(controller.wrapped, again)
    assert plan.choose_trial_to_run(controller.wrapped) is again


def test_idle_actors_are_kept_for_all_slots_while_more_is_to_come(controller):
    plan, kept = scheduler(slots=3)
    plan.on_trial_add(controller.wrapped, trial("one"))
    plan.choose_trial_to_run(controller.wrapped)
    plan.choose_trial_to_run(controller.wrapped)
    assert controller._actor_cache._max_num_objects["one core"] == 3
    kept.keep = False
    plan.choose_trial_to_run(controller.wrapped)
    assert controller._actor_cache._max_num_objects["one core"] == 0
