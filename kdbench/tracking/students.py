"""Kept students in MLflow: a model that loads anywhere, its portable form, its place in the registry."""

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from kdbench.tracking.operations import Student
from kdbench.tracking.student import Packaged, of_network, write_folder

_log = logging.getLogger(__name__)

NAME = "student"  # of the logged model and of the artifact folder with the portable form
ALIAS = "champion"


def log(client: MlflowClient, experiment: str, run: str, student: Student) -> None:
    """Log a student under its run, and register it where it is to be; what is there stays as it is."""
    weights = Path(student.weights)
    model = _logged(client, experiment, run)
    if model is None:
        if not weights.exists():
            _log.warning("the student %s was not kept: %s is gone", student.key, weights)
            return
        model = _log_model(client, experiment, run, student)
    if student.register:
        _register(client, run, model, student)


def _logged(client: MlflowClient, experiment: str, run: str) -> LoggedModel | None:
    """The run's model, if it has a whole one. A half-written one of a crash is removed."""
    found = None
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'"):
        if model.status == LoggedModelStatus.READY:
            found = model
        else:
            client.delete_logged_model(model.model_id)
    return found


def _log_model(client: MlflowClient, experiment: str, run: str, student: Student) -> LoggedModel:
    packaged = of_network(Path(student.weights))
    tags = {name: value for name, value in student.tags.items() if value}
    with tempfile.TemporaryDirectory() as temporary:
        portable = Path(temporary) / NAME
        write_folder(packaged, portable, {tag.removeprefix("kdbench."): tags[tag] for tag in tags})
        client.log_artifacts(run, str(portable), NAME)
        model = client.create_logged_model(
            experiment, NAME, run, tags, client.get_run(run).data.params, model_type="kdbench.student"
        )
        folder = Path(temporary) / "model"
        _save(packaged, folder, run, model)
        client.log_model_artifacts(model.model_id, str(folder))
    _link_metrics(client, run, model, student.step)
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(packaged: Packaged, folder: Path, run: str, model: LoggedModel) -> None:
    """MLflow's form. Requirements are given: finding them out would take MLflow half a minute."""
    shape = packaged.card.shape
    example = np.zeros((2, *shape), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(packaged.card.classes)))]),
    )
    mlflow.pytorch.save_model(
        packaged,
        str(folder),
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=run,
            model_uuid=model.model_id,
            model_id=model.model_id,
        ),
        signature=signature,
        input_example=example,
        pip_requirements=[f"kdbench=={version('kdbench')}", f"torch=={torch.__version__.partition('+')[0]}"],
        # MLflow's own default is frozen to the example's batch size.
        serialization_format="pickle",
    )


def _link_metrics(client: MlflowClient, run: str, model: LoggedModel, step: int) -> None:
    """Show the run's metrics of its last epoch on the model's page, too."""
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=step)])
    metrics = [
        # The very points of the run, their times included: MLflow adds any other to the run's own history.
        Metric(name, point.value, point.timestamp, step, model_id=model.model_id, run_id=run)
        for name in client.get_run(run).data.metrics
        for point in client.get_metric_history(run, name)
        if point.step == step
    ]
    client.log_batch(run, metrics, synchronous=True)


def _register(client: MlflowClient, run: str, model: LoggedModel, student: Student) -> None:
    """Make the model a version of its name, once per key, and the champion."""
    name = student.register
    try:
        client.create_registered_model(
            name, {k: student.tags[k] for k in ("kdbench.suite", "kdbench.method")}
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    number = next((known.version for known in versions if known.tags.get("kdbench.key") == student.key), None)
    if number is None:
        made = client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run,
            {tag: value for tag, value in student.tags.items() if value},
            description=student.description,
            model_id=model.model_id,
        )
        number = made.version
    if client.get_registered_model(name).aliases.get(ALIAS) != number:
        client.set_registered_model_alias(name, ALIAS, number)
