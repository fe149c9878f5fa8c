"""Ray Tune's searcher and scheduler over a Dispatcher, and the cures for two defects of Tune's actor reuse.

The private attributes of Tune that the cures need are all in `_Controller`;
tests/search/test_tune_contract.py holds Ray to them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from kdbench.search import worker
from kdbench.search.decisions import Decisions
from kdbench.search.dispatcher import Dispatcher, Loss
from kdbench.search.slots import Slots, whole_device
from kdbench.search.work import MESSAGE, MachineFault, Message, Work
from kdbench.search.worker import Setting


class PlanSearcher(Searcher):  # type: ignore[misc]
    """Asks the dispatcher for runs and tells it how they ended. Tune's trial ids are known here only."""

    def __init__(self, dispatcher: Dispatcher, slots: Slots, decisions: Decisions):
        super().__init__(metric=None, mode=None)
        self._dispatcher, self._slots, self._decisions = dispatcher, slots, decisions
        self._keys: dict[str, str] = {}  # Tune's trial id -> key, of the live ones
        self._causes: dict[str, str] = {}  # why a trial of Tune failed

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """Nothing to set: the dispatcher knows."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next run; None while something must come back first; FINISHED when nothing will.

        Retries come from here too, so it is FINISHED only when nothing is in flight.
        """
        slots = self._slots.now()
        if len(self._keys) >= self._slots.limit:
            return None
        with self._decisions.timed("suggest"):
            work = self._dispatcher.next(slots)
        if work is None:
            return None if self._dispatcher.flights else str(Searcher.FINISHED)
        self._keys[trial_id] = work.key
        return {"work": work}

    def reported(self, trial_id: str, text: str) -> bool:
        """A worker reports epochs; returns whether its trial is stopped."""
        if trial_id not in self._keys:
            return True
        message = Message.decode(text)
        self._slots.busy(message.busy)
        with self._decisions.timed("report"):
            return self._dispatcher.report(self._keys[trial_id], message)

    def failed(self, trial_id: str, cause: str) -> None:
        """Tune is about to say that this trial has failed; it does not say why."""
        self._causes[trial_id] = cause

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Nothing: the scheduler sees the report that stops a trial too, and passes all of them on."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial of Tune is over: its training has ended, was stopped, or its worker is gone."""
        key = self._keys.pop(trial_id, None)
        cause = self._causes.pop(trial_id, "")
        if key is None:
            return
        if error:
            self._dispatcher.lost(key, loss_of(cause), _last_line(cause))
        elif result and MESSAGE in result:
            message = Message.decode(result[MESSAGE])
            self._slots.busy(message.busy)
            if message.outcome is not None:
                with self._decisions.timed("ended"):
                    self._dispatcher.ended(key, message)

    def save(self, checkpoint_path: str) -> None:
        """Write what Tune insists on. The state is in the records: nothing is ever restored from this."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a relaunch builds a new Tuner over the missing work."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher, and nobody reads it."""
        return {}


def loss_of(cause: str) -> Loss:
    """What Ray's words say of a lost run: its node went away, its worker died, its machine failed it, or its
    code raised.
    """
    if MachineFault.__name__ in cause:
        return "machine"
    if "node has died" in cause or "node was preempted" in cause or "is unavailable" in cause:
        return "node"
    died = ("The actor died", "The actor is dead", "Worker died", "killed by the OS")
    return "worker" if not cause or any(words in cause for words in died) else "error"


def _last_line(cause: str) -> str:
    line = (cause.strip().splitlines() or ["the worker died"])[-1]
    return line.rpartition(f"{MachineFault.__name__}: ")[2]


class PlanScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes reports to the searcher, stops trials on its word, and chooses which trial gets a free actor."""

    def __init__(
        self,
        searcher: PlanSearcher,
        slots: Slots,
        keep_actors: Callable[[], bool],
        every_step: Callable[[], None],
    ):
        """`keep_actors`: whether idle actors are worth keeping, as every run to come can use any of them.

        `every_step` is called in Tune's loop, at least ten times a second.
        """
        super().__init__()
        self._searcher, self._slots = searcher, slots
        self._keep_actors, self._every_step = keep_actors, every_step
        self._pending: dict[str, Trial] = {}
        self._kept: tuple[PlacementGroupFactory, int] | None = None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, or is to run again."""
        self._pending[trial.trial_id] = trial

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Stop a trial exactly when its study's scheduler says so."""
        stop = self._searcher.reported(trial.trial_id, result[MESSAGE]) if MESSAGE in result else False
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Remember why, for the searcher is told only that."""
        path = trial.error_file
        self._searcher.failed(trial.trial_id, Path(path).read_text() if path and Path(path).exists() else "")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as the searcher's."""
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The longest waiting trial whose own actor is not starting.

        Tune gives a free actor to the first pending trial and then stops the actor that was starting for
        it. With trials shorter than the start of a worker (8 s) a worker that is late or was lost would
        never come.
        """
        self._every_step()
        controller = _Controller(tune_controller)
        self._adjust(controller)
        for trial_id, trial in list(self._pending.items()):
            if trial.status != Trial.PENDING:
                del self._pending[trial_id]
            elif not controller.actor_starting(trial):
                return trial
        return None

    def _adjust(self, controller: "_Controller") -> None:
        """Keep idle actors while `keep_actors` says so.

        While no run waits Tune keeps one idle actor and stops the others; all of them are wanted again as
        soon as a study is over and its final runs come.
        """
        waiting = next(iter(self._pending.values()), None)
        slots = self._slots.now()
        if self._keep_actors() and waiting is not None:
            self._keep(controller, waiting.placement_group_factory, slots)
        elif not self._keep_actors() and self._kept is not None:
            self._keep(controller, self._kept[0], 0)

    def _keep(self, controller: "_Controller", resources: PlacementGroupFactory, number: int) -> None:
        before = self._kept[1] if self._kept is not None else 0
        if number != before:
            controller.keep_idle(resources, number - before)
            self._kept = (resources, number)


class _Controller:
    """What is used of Tune's controller. None of it is public."""

    def __init__(self, wrapper: Any):
        # The wrapper that schedulers are given warns of every attribute that it does not know.
        self._controller = getattr(wrapper, "_tune_controller", wrapper)

    def actor_starting(self, trial: Trial) -> bool:
        """Whether an actor of the trial's own has its resources already."""
        actor = self._controller._trial_to_actor.get(trial)
        return actor is not None and bool(self._controller._actor_manager.is_actor_started(actor))

    def keep_idle(self, resources: PlacementGroupFactory, more: int) -> None:
        """Let the controller keep so many more idle actors with these resources."""
        self._controller._actor_cache.increase_max(resources, more)


def trainable(setting: Setting) -> Any:
    """The function that Tune runs, with each run's own resources."""

    def kdbench_run(config: dict[str, Any], setting: Setting) -> None:
        worker.run(config["work"], setting)

    return tune.with_resources(tune.with_parameters(kdbench_run, setting=setting), _resources)


def _resources(config: Mapping[str, Any]) -> PlacementGroupFactory:
    work: Work = config["work"]
    share = whole_device(work.share, ray.nodes()) if work.alone else work.share
    bundle = {"CPU": share.cpu, "GPU": share.gpu}
    return PlacementGroupFactory([{name: amount for name, amount in bundle.items() if amount}])
