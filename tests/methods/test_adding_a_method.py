import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "adding-a-method.md"
BLOCK = re.compile(r"`([\w/.-]+)`\n\n```\w+\n(.*?)```", re.DOTALL)


def checkout(folder: Path) -> dict[str, str]:
    """A copy of what methods live in, and the blocks of the document by the file they are for."""
    for name in ("kdbench", "search_spaces", "tests/contracts", "tests/methods"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return dict(BLOCK.findall(DOCUMENT.read_text()))


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_documents_four_blocks_make_a_method(tmp_path: Path) -> None:
    blocks = checkout(tmp_path)
    assert list(blocks) == [
        "kdbench/methods/logit_matching.py",
        "kdbench/methods/__init__.py",
        "search_spaces/logit-matching.yaml",
        "tests/methods/test_logit_matching.py",
    ]
    for path, text in blocks.items():
        if path.endswith("__init__.py"):
            listed = (tmp_path / path).read_text()
            (tmp_path / path).write_text(listed.replace("    original,\n", text + "    original,\n", 1))
        else:
            assert not (tmp_path / path).exists()
            (tmp_path / path).write_text(text)

    selected = [
        "tests/methods/test_logit_matching.py",
        "tests/methods/test_search_spaces.py",
        "tests/contracts",
    ]
    tests = run(
        tmp_path, "-m", "pytest", "-q", "-W", "ignore", *selected, "-k", "logit or logit-matching or one_file"
    )
    assert tests.returncode == 0, tests.stdout
    passed = re.search(r"(\d+) passed", tests.stdout)
    assert passed is not None and int(passed[1]) >= 12  # its own test, its space, and the contract

    lint = run(tmp_path, "-m", "ruff", "check", "--no-cache", "kdbench/methods", "tests/methods")
    assert lint.returncode == 0, lint.stdout
    composed = run(
        tmp_path,
        "-W",
        "ignore",
        "-c",
        "from kdbench import methods; print(list(methods.hyperparameters('hinton+logit-matching')))",
    )
    assert composed.stdout.strip() == "['temperature', 'alpha', 'beta']", composed.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_block_less_and_the_tests_fail(tmp_path: Path) -> None:
    """Without the import line there is no such method."""
    blocks = checkout(tmp_path)
    test = "tests/methods/test_logit_matching.py"
    for path in ("kdbench/methods/logit_matching.py", test):
        (tmp_path / path).write_text(blocks[path])
    assert "'logit-matching'" in run(tmp_path, "-m", "pytest", "-q", "-W", "ignore", test).stdout
