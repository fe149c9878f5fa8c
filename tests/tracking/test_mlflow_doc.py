"""docs/mlflow.md says what is so: its searches answer, its tables name every tag and metric."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kdbench.home import Home
from kdbench.plan import Plan
from kdbench.tracking.store import Store
from kdbench.tracking.tree import Tree

TEXT = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text()


@pytest.fixture
def told(small: Plan, home: Home, make: Any) -> MlflowClient:
    """A store with trials and finals, one of them failed, one in no plan any more."""
    tree, store = Tree(small, ""), Store(home.mlflow_uri, "small", home.artifacts)
    for study in small.studies:
        run, record = make.trial(small, study, 0)
        store.apply(tree.run(run, make.done(record, state="diverged", reason="nan")))
        for run, record in make.tuned(small, study):
            store.apply(tree.run(run, make.done(record)))
    return MlflowClient(home.mlflow_uri)


def test_the_searches_answer_their_questions(told: MlflowClient) -> None:
    best, failed, student = re.findall(r"```\n((?:tags|attributes)\..*)\n```", TEXT)
    experiment = [told.get_experiment_by_name("small").experiment_id]

    def names(query: str) -> set[str]:
        return {run.info.run_name for run in told.search_runs(experiment, query)}

    hinton = {f"hinton · resnet14→resnet8w4 · {f} % · seed {s}" for f in (100, 50) for s in (0, 1)}
    original = {name.replace("hinton", "original") for name in hinton}
    assert names(best.replace('"bss"', '"hinton"')) == hinton
    assert names(failed) == {f"{m} · resnet14→resnet8w4 · 100 % · #00" for m in ("original", "hinton")}
    assert names(student) == hinton | original


def test_every_tag_is_explained(small: Plan, make: Any) -> None:
    tree = Tree(small, "abc")
    run, record = make.tuned(small, small.studies[1])[0]
    written = {
        *tree.launch().tags,
        *tree.study(small.studies[0], "running").tags,
        *tree.run(run, record).tags,
    }
    table = TEXT[TEXT.index("### Tags") : TEXT.index("### Metrics")]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `kdbench.")]
    explained = {
        "kdbench." + name.removeprefix("kdbench").removeprefix(".")
        for cell in cells
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert {name for name in written if name.startswith("kdbench.")} | {"kdbench.reused"} == explained
