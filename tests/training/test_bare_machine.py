"""Trainings run where Ray, MLflow, Optuna and what else only launches and reports need are not installed."""

import subprocess
import sys

import pytest

ABSENT = ("ray", "mlflow", "optuna", "pydantic", "foolbox", "pandas", "matplotlib", "typer")
SCRIPT = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None  # importing it raises ImportError
import dataclasses, pathlib, tempfile
import kdbench.boundary, kdbench.data, kdbench.losses, kdbench.methods, kdbench.models, kdbench.training
from kdbench import data
from kdbench.home import Home
from kdbench.training.job import Job, Split
from kdbench.training.recipe import Recipe
facts = data.facts(data.DatasetSpec("digits"))
job = Job(
    dataset=dataclasses.asdict(data.DatasetSpec("digits")), dataset_hash=facts.content_hash,
    split=Split(0.2, 0, 0.2), model="resnet8w2", recipe=Recipe(epochs=1, updates="scaled"), seed=1,
)
home = Home(pathlib.Path(tempfile.mkdtemp()))
print(kdbench.training.execute(job, kind="final", key="k", home=home, device="cpu").state)
"""


@pytest.mark.timeout(300)  # a fresh process imports torch and more
def test_a_final_runs_on_a_bare_machine() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["complete"]
