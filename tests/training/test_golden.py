"""The same job trains to the same bits: since TRAINING_VERSION, in another process, after any neighbour."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch
from misbehaving import Broken, Nan

from kdbench.data import TrainingData
from kdbench.home import Home
from kdbench.methods.contract import Method
from kdbench.training import TRAINING_VERSION, execute, train
from kdbench.training.job import Job

WRITTEN = json.loads(golden.FILE.read_text())
HOW = "trainings changed: bump TRAINING_VERSION and run `python tests/training/golden.py`"


def test_the_version_was_bumped_together_with_what_is_written_down() -> None:
    assert WRITTEN["training_version"] == TRAINING_VERSION, HOW
    assert WRITTEN["cases"].keys() == golden.CASES.keys(), HOW


@pytest.mark.parametrize("name", golden.CASES)
def test_trainings_are_what_was_written_down(name: str) -> None:
    """Nearly, on any machine: rounding differs between processors, but another algorithm differs more."""
    losses = golden.result(golden.run(name))["losses"]
    assert losses == pytest.approx(WRITTEN["cases"][name]["losses"], rel=1e-3), HOW


@pytest.mark.parametrize("name", golden.CASES)
def test_bits_are_what_was_written_down(name: str) -> None:
    if golden.machine() != WRITTEN["machine"]:
        pytest.skip(f"written down on another machine: {WRITTEN['machine']}, this is {golden.machine()}")
    assert golden.digest(golden.run(name).student) == WRITTEN["cases"][name]["sha256"], HOW


@pytest.mark.timeout(300)  # a fresh process imports torch and more
def test_another_process_gives_the_same_bits() -> None:
    """One process that has done nothing before against one that has done all sorts of things."""
    command = [sys.executable, "-W", "ignore", golden.__file__, "hinton"]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    fresh = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    torch.manual_seed(99)
    assert golden.digest(golden.run("hinton").student) == fresh.stdout.strip()


def test_neighbours_in_the_process_do_not_matter(
    digits: TrainingData,
    make_job: Callable[..., Job],
    registered: Callable[[type[Method]], str],
    tmp_path: Path,
) -> None:
    """Neither a diverged nor a failed nor a stopped one, nor what they did to global generators."""

    class Stopped(Broken):
        error = SystemExit()

    before = golden.digest(golden.run("original").student)
    home = Home(tmp_path)
    labels = [registered(cls) for cls in (Nan, Broken, Stopped)]
    assert train(make_job(method=labels[0]), digits, None, "cpu").state == "diverged"
    broken = make_job(method=labels[1])
    assert execute(broken, kind="trial", key="broken", home=home, device="cpu").state == "failed"
    with pytest.raises(SystemExit):
        execute(make_job(method=labels[2]), kind="trial", key="stopped", home=home, device="cpu")
    assert golden.digest(golden.run("original").student) == before
