"""A training in a reused worker gives the same bits as in a fresh process, whatever its neighbours did."""

import subprocess
import sys

import pytest

from kdbench import records, search
from kdbench.home import Home
from kdbench.search import cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ALONE = """
import sys
from pathlib import Path
from kdbench import records, training
from kdbench.home import Home
from kdbench.training.job import job_of
there, here, key = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
record = records.read(Home(there).results / f"{key}.json")
(here / "teachers").symlink_to(Home(there).teachers)
outcome = training.execute(
    job_of(record.job), kind=record.kind, key=key, home=Home(here), device="cpu", threads=1, keep_student=True
)
assert outcome.history == record.history, (outcome.history, record.history)
"""


def test_same_bits_in_a_reused_worker_as_in_a_fresh_process(make_plan, tmp_path, told):
    """The search has pruned trials, one study diverges at its high learning rates, and workers are few."""
    plan = make_plan(
        methods=["original", "hinton", "fitnet"],
        teacher={"epochs": 2},
        training={"epochs": 4},
        spaces={"hinton": {"lr": {"float": [0.05, 1e6], "scale": "log"}}},
        search={"trials": 5, "grace_epochs": 1},
        final={"seeds": 1},
        students={"keep": "all"},
    )
    state = Home(tmp_path / "state")
    cluster.prepare()
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        summary = search.launch(plan, home=state, tracker=told, progress=told)
    finally:
        ray.shutdown()
    assert summary.exit_code == 0
    states = {record.state for record in records.read_all(state.results)}
    assert {"complete", "pruned", "diverged"} <= states, "the neighbours were too well behaved"
    finals = [r for r in records.read_all(state.results) if r.kind == "final" and r.state == "complete"]
    for record in finals[:2]:
        alone = tmp_path / record.key
        alone.mkdir()
        command = [sys.executable, "-W", "ignore", "-c", ALONE, str(state.root), str(alone), record.key]
        subprocess.run(command, check=True)
        name = f"{record.key}.safetensors"
        assert (Home(alone).students / name).read_bytes() == (state.students / name).read_bytes()
