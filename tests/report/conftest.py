"""Stores of synthetic runs for the report's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # report_store is a module of these tests, not of a package

import report_store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments of ours; making one takes seconds, copying it none."""
    return report_store.new_database(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def store(empty_database: Path, tmp_path: Path):
    """A function that puts runs into a new store and returns its URI."""

    def fill(runs, plan=None, folder: Path | None = None) -> str:
        return report_store.insert(runs, empty_database, folder or tmp_path, plan)

    return fill
