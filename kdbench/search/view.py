"""One study's trials inside an Optuna storage: the sampler's memory and the journal are both such views."""

from collections.abc import Mapping
from datetime import datetime

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdbench.search.domain import Domain
from kdbench.search.trial import Trial

_STATES = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "running": TrialState.RUNNING}


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """A search space in Optuna's terms."""
    return {name: _distribution(domain) for name, domain in space.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.kind == "categorical":
        return CategoricalDistribution(domain.choices)
    assert domain.low is not None  # noqa: S101 - for mypy; a Domain with a range has both ends
    assert domain.high is not None  # noqa: S101
    log = domain.scale == "log"
    if domain.kind == "int":
        return IntDistribution(int(domain.low), int(domain.high), log=log)
    return FloatDistribution(domain.low, domain.high, log=log)


def frozen(trial: Trial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A trial in Optuna's terms: complete -> COMPLETE, pruned -> PRUNED with its values, failed -> FAIL.

    A diverged trial is PRUNED without any value, which TPE counts as worst: FAIL would be invisible to it,
    and it would go on sampling there.
    """
    params = {name: value for name, value in trial.sampled.items() if name in space}
    found = create_trial(
        state=_STATES.get(trial.state, TrialState.PRUNED),
        value=_value(trial),
        params=params,
        distributions={name: space[name] for name in params},
        intermediate_values=dict(trial.steps) if trial.state != "diverged" else {},
        user_attrs={"number": trial.number, "key": trial.key},
    )
    found.datetime_start = datetime.fromtimestamp(trial.began)
    if trial.ended:
        found.datetime_complete = datetime.fromtimestamp(trial.finished)
    return found


def _value(trial: Trial) -> float | None:
    if trial.state == "pruned" and trial.steps:
        return trial.steps[max(trial.steps)]
    return trial.value if trial.state == "complete" else None


class View:
    """One study in a storage, addressed by our trial numbers. Optuna's own count positions in the view."""

    def __init__(self, storage: BaseStorage, name: str, space: Mapping[str, BaseDistribution]):
        """Create or open the study `name` in `storage`."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        self._storage = storage
        self._id = storage.get_study_id_from_name(name)
        self._space = space
        self._trial_ids: dict[int, int] = {}  # our number -> the storage's id

    def __len__(self) -> int:
        return len(self._trial_ids)

    def __contains__(self, number: int) -> bool:
        return number in self._trial_ids

    def add(self, trial: Trial) -> None:
        """Put a trial in, as it stands."""
        self._trial_ids[trial.number] = self._storage.create_new_trial(
            self._id, template_trial=frozen(trial, self._space)
        )

    def adopt(self, number: int, trial: optuna.trial.Trial) -> None:
        """Know a trial that the study was asked for under our number."""
        self._trial_ids[number] = self._storage.get_trial_id_from_study_id_trial_number(
            self._id, trial.number
        )

    def report(self, number: int, step: int, value: float) -> None:
        """A running trial has this objective at this step."""
        self._storage.set_trial_intermediate_value(self._trial_ids[number], step, value)

    def tell(self, trial: Trial) -> None:
        """A running trial has ended."""
        told = frozen(trial, self._space)
        trial_id = self._trial_ids[trial.number]
        known = self._storage.get_trial(trial_id).intermediate_values
        for step, value in told.intermediate_values.items():
            if step not in known:
                self._storage.set_trial_intermediate_value(trial_id, step, value)
        self._storage.set_trial_state_values(trial_id, told.state, told.values)
