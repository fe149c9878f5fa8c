"""Operations applied to MLflow: the one place that writes to it. Imports mlflow, which takes seconds."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType

from kdbench.tracking import operations
from kdbench.tracking.operations import (
    Address,
    Current,
    Dataset,
    Folder,
    Operation,
    Student,
    Text,
    Write,
    address,
)

_log = logging.getLogger(__name__)

PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
KIND = "mlflow.experimentKind"  # the page then shows trainings, not prompts and traces
_ABOUT = (
    "A suite of kdbench: one launch run, below it a study for each method and pair, below that its trials and"
    " final runs. The report is an artifact of the launch run."
)
_BATCH = 900  # metrics per call; MLflow takes 1,000 metrics, params and tags together


@dataclass
class _Known:
    """What MLflow has of a run."""

    id: str
    status: str
    tags: dict[str, str]
    params: frozenset[str] = frozenset()
    metrics: dict[str, float] = field(default_factory=dict)  # the latest of each
    epoch: int | None = 0  # the last one logged; None: not asked yet


class Store:
    """One suite's experiment. Every operation can be applied again without harm."""

    def __init__(self, uri: str, suite: str, artifacts: Path | None):
        """Nothing is asked of MLflow yet.

        Args:
            uri: the tracking URI.
            suite: name of the experiment.
            artifacts: root folder for a new experiment's artifacts; None: the server decides.

        """
        mlflow.set_tracking_uri(uri)  # the registry looks models up at the process's own URI
        self.client = MlflowClient(uri)
        self._suite = suite
        self._artifacts = artifacts
        self._experiment = ""
        self._runs: dict[Address, _Known] = {}
        self._uncertain: set[Address] = set()  # asked to be created, no answer seen

    def probe(self) -> None:
        """Raise what MLflow's client raises where the store does not answer."""
        self.client.search_experiments(max_results=1, view_type=ViewType.ALL)

    def apply(self, operation: Operation) -> None:
        """Bring MLflow to what the operation asks for."""
        self._open()
        try:
            self._apply(operation)
        except BaseException:
            # It may be done and only the answer lost, or somebody deleted the run: MLflow is asked next time.
            if not isinstance(operation, Current) and operation.run in self._runs:
                del self._runs[operation.run]
                self._uncertain.add(operation.run)
            raise

    def _apply(self, operation: Operation) -> None:
        if isinstance(operation, Write):
            self._write(operation)
        elif isinstance(operation, Current):
            self._mark_current(operation)
        elif (run := self._known(operation.run)) is None:
            _log.warning("no run %s for %s", operation.run, type(operation).__name__)
        elif isinstance(operation, Text):
            self.client.log_text(run.id, operation.text, operation.path)
        elif isinstance(operation, Folder):
            self.client.log_artifacts(run.id, operation.folder, operation.path)
        elif isinstance(operation, Dataset):
            self._log_dataset(run, operation)
        elif isinstance(operation, Student):
            from kdbench.tracking import students  # imports torch

            students.log(self.client, self._experiment, run.id, operation)

    def _open(self) -> None:
        if self._experiment:
            return
        experiment = self.client.get_experiment_by_name(self._suite)
        if experiment is None:
            root = None if self._artifacts is None else (self._artifacts / self._suite).as_uri()
            tags = {"kdbench.suite": self._suite, KIND: "custom_model_development", NOTE: _ABOUT}
            self._experiment = self.client.create_experiment(self._suite, root, tags)
            return
        if experiment.lifecycle_stage != "active":
            self.client.restore_experiment(experiment.experiment_id)
        for run in self._search("", [experiment.experiment_id]):
            self._adopt(run)
        self._experiment = experiment.experiment_id

    def _search(self, query: str, experiments: list[str]) -> list[Run]:
        """Every run that matches, the oldest first."""
        runs: list[Run] = []
        token = None
        while token is not None or not runs:
            page = self.client.search_runs(
                experiments, query, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                break
        return runs

    def _adopt(self, run: Run) -> None:
        tags = run.data.tags
        if "kdbench.kind" not in tags:
            return
        key = tags.get("kdbench.key", "")
        at = address(tags["kdbench.kind"], tags.get("kdbench.pair", "") if key else "", key)
        if at in self._runs:  # a creation whose answer was lost and that MLflow's client repeated
            if self._runs[at].id != run.info.run_id:
                self.client.delete_run(run.info.run_id)
            return
        self._runs[at] = _Known(
            id=run.info.run_id,
            status=run.info.status,
            tags={NAME: run.info.run_name, **tags},
            params=frozenset(run.data.params),
            metrics=dict(run.data.metrics),
            epoch=None,
        )

    def _write(self, write: Write) -> None:
        known = self._known(write.run)
        if known is None:
            if not write.name:
                return
            known = self._create(write)
        self._log(known, write)
        if write.status and write.status != known.status:
            if write.status == "RUNNING":
                self.client.update_run(known.id, status="RUNNING")
            else:
                self.client.set_terminated(known.id, write.status, write.ended or None)
            known.status = write.status

    def _known(self, at: Address) -> _Known | None:
        """What MLflow has of a run; it is asked where that is not certain."""
        if at in self._uncertain:
            kind, pair, key = at.split("|")
            parts = {"kdbench.kind": kind, "kdbench.pair": pair, "kdbench.key": key}
            query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in parts.items() if value)
            for run in self._search(query, [self._experiment]):
                self._adopt(run)
            self._uncertain.discard(at)
        return self._runs.get(at)

    def _create(self, write: Write) -> _Known:
        tags = {name: value for name, value in self._tags(write).items() if value}
        if write.reused and self._tracked_elsewhere(write):
            tags["kdbench.reused"] = "true"
        self._uncertain.add(write.run)
        run = self.client.create_run(self._experiment, write.started or None, tags, write.name)
        self._uncertain.discard(write.run)
        self._runs[write.run] = _Known(run.info.run_id, "RUNNING", {NAME: write.name, **tags})
        return self._runs[write.run]

    def _tags(self, write: Write) -> dict[str, str]:
        parent = self._known(write.parent) if write.parent else None
        structure = {PARENT: parent.id if parent else "", NAME: write.name}
        return {**write.tags, **{name: value for name, value in structure.items() if value}}

    def _tracked_elsewhere(self, write: Write) -> bool:
        """Whether this result was trained for another pair or suite, where its cost is counted."""
        key = write.run.rpartition("|")[2]
        if any(at.endswith(f"|{key}") and "kdbench.reused" not in run.tags for at, run in self._runs.items()):
            return True
        others = [
            experiment.experiment_id
            for experiment in self.client.search_experiments()
            if "kdbench.suite" in experiment.tags and experiment.experiment_id != self._experiment
        ]
        runs = self._search(f"tags.`kdbench.key` = '{key}'", others) if others else []
        return any("kdbench.reused" not in run.data.tags for run in runs)

    def _log(self, known: _Known, write: Write) -> None:
        """One call with everything that MLflow does not have yet; none if there is nothing."""
        wanted = self._tags(write)
        for name in [name for name, value in wanted.items() if not value and name in known.tags]:
            self.client.delete_tag(known.id, name)
            del known.tags[name]
        tags = {name: value for name, value in wanted.items() if value and known.tags.get(name) != value}
        params = {name: value for name, value in write.params.items() if name not in known.params}
        metrics = [
            Metric(name, value, time, epoch)
            for epoch, time, values in self._new_epochs(known, write)
            for name, value in values.items()
        ]
        at = write.ended or write.started or 1
        metrics += [
            Metric(name, value, at, write.step)
            for name, value in write.results.items()
            if not _same(known.metrics.get(name), value)
        ]
        for start in range(0, max(len(metrics), 1), _BATCH):
            if tags or params or metrics:
                self.client.log_batch(
                    known.id,
                    metrics[start : start + _BATCH],
                    [Param(name, value) for name, value in params.items()],
                    [RunTag(name, value) for name, value in tags.items()],
                    synchronous=True,
                )
            known.tags.update(tags)
            known.params |= set(params)
            params, tags = {}, {}
        known.metrics.update(write.results)
        if write.epochs and known.epoch is not None:
            known.epoch = max(known.epoch, max(epoch for epoch, _, _ in write.epochs))

    def _new_epochs(self, known: _Known, write: Write) -> list[tuple[int, int, Any]]:
        """Epochs beyond the last one logged, each once and in order."""
        if write.epochs and known.epoch is None:
            histories = [self.client.get_metric_history(known.id, name) for name in write.epochs[0][2]]
            known.epoch = max((metric.step for history in histories for metric in history), default=0)
        new = {
            epoch: (epoch, time, values) for epoch, time, values in write.epochs if epoch > (known.epoch or 0)
        }
        return [new[epoch] for epoch in sorted(new)]

    def _log_dataset(self, run: _Known, dataset: Dataset) -> None:
        entity = MlflowDataset(dataset.name, dataset.digest, "kdbench", dataset.source)
        self.client.log_inputs(run.id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _mark_current(self, current: Current) -> None:
        """Runs that the latest plan does not know any more stay, marked, so that reports leave them out."""
        keep = {operations.LAUNCH, *current.runs}
        for at, run in self._runs.items():
            value = "true" if at in keep else "false"
            if run.tags.get("kdbench.current") != value:
                self.client.set_tag(run.id, "kdbench.current", value)
                run.tags["kdbench.current"] = value


def _same(known: float | None, value: float) -> bool:
    return known is not None and (known == value or (known != known and value != value))  # NaN is NaN
