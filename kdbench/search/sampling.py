"""Proposals for one study, by Optuna's samplers over a view of its trials in memory."""

import warnings
from collections.abc import Iterable, Mapping

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from kdbench.methods.contract import Scalar
from kdbench.search.domain import Domain
from kdbench.search.trial import Trial
from kdbench.search.view import View, distributions, frozen
from kdbench.seeds import derive

# What the model-based samplers look at. Their cost grows with the number of trials (TPE 19 ms at 1,000, 186
# ms at 10,000; GP with its cube); the best and the latest trials tell them nearly all there is to learn.
WINDOW = 200  # of which
BEST = 50  # are the best complete ones,
LATEST = 75  # the latest ended ones, and the rest the latest running ones
STARTUP = 8  # trials that have ended before TPE and GP model anything, the default point among them


class Sampler:
    """Proposes the points of one study."""

    def __init__(self, kind: str, space: Mapping[str, Domain], seed: int, study_key: str):
        """`kind` is tpe, random, gp or cmaes; `seed` the suite's."""
        self._kind, self._seed, self._study_key = kind, seed, study_key
        self._space = distributions(space)
        self._trials: dict[int, Trial] = {}
        self._earlier: list[FrozenTrial] = []  # complete trials of earlier launches, for CMA-ES
        self._view = self._rebuilt()

    def restore(self, trials: Iterable[Trial]) -> None:
        """Take up the trials of earlier launches."""
        self._trials = {trial.number: trial for trial in trials}
        self._earlier = [frozen(t, self._space) for t in self._trials.values() if t.state == "complete"]
        self._view = self._rebuilt()

    def ask(self, number: int) -> dict[str, Scalar]:
        """The searched values of trial `number`: a function of the number and of what was told before."""
        if not self._space:
            return {}
        if self._windowed and len(self._view) >= 2 * WINDOW:
            self._view = self._rebuilt()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the samplers announce that their arguments are experimental
            self._view.study.sampler = self._sampler(derive(self._seed, "sampler", self._study_key, number))
            trial = self._view.study.ask(self._space)
        self._view.adopt(number, trial)
        return dict(trial.params)

    def started(self, trial: Trial) -> None:
        """A trial runs with these values, whoever chose them."""
        self._trials[trial.number] = trial
        if trial.number not in self._view:
            self._view.add(trial)

    def tell(self, trial: Trial) -> None:
        """A trial that was started has ended."""
        self._trials[trial.number] = trial
        if trial.number in self._view:
            self._view.tell(trial)
        else:  # it left the window while it ran
            self._view.add(trial)

    @property
    def _windowed(self) -> bool:
        return self._kind in ("tpe", "gp")

    def _rebuilt(self) -> View:
        view = View(InMemoryStorage(), self._study_key, self._space)
        for number in self._visible():
            view.add(self._trials[number])
        return view

    def _visible(self) -> list[int]:
        """Numbers that the sampler looks at."""
        if not self._windowed or len(self._trials) <= WINDOW:
            return sorted(self._trials)
        complete = [trial for trial in self._trials.values() if trial.state == "complete"]
        best = sorted(complete, key=lambda trial: -(trial.value or 0.0))[:BEST]
        ended = sorted(trial.number for trial in self._trials.values() if trial.ended)[-LATEST:]
        running = sorted(trial.number for trial in self._trials.values() if not trial.ended)
        return sorted({trial.number for trial in best} | set(ended) | set(running[BEST + LATEST - WINDOW :]))

    def _sampler(self, seed: int) -> BaseSampler:
        # A new one for every trial: one that lived on would repeat its proposals when its stream restarts
        # in a relaunch.
        if self._kind == "random":
            return RandomSampler(seed)
        if self._kind == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP, deterministic_objective=False)
        if self._kind == "cmaes":
            # Its state lives in attributes of Optuna's trials, which records lack: a relaunch starts it
            # from the values of the earlier trials instead.
            return CmaEsSampler(seed=seed, source_trials=self._earlier or None)
        return _Tpe(self._space, seed)


class _Tpe(TPESampler):  # type: ignore[misc]
    """Multivariate TPE over a space that is known, which Optuna would find out from all trials each time."""

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int):
        super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP)
        self._known = {name: item for name, item in sorted(space.items()) if not item.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are modelled together: all of which there is a choice."""
        return self._known
