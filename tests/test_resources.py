"""Package data: found in a checkout, and inside the wheel when installed from it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kdbench import resources

ROOT = Path(__file__).parent.parent
NAMES = ("search_spaces/_training.yaml", "suites/quickstart.yaml", "reports/templates")


@pytest.mark.parametrize("name", NAMES)
def test_a_checkout_uses_the_repositorys_own_files(name):
    assert resources.path(name) == ROOT / name


def test_a_name_that_does_not_exist_is_named_in_the_error():
    with pytest.raises(FileNotFoundError, match="suites/nothing.yaml"):
        resources.path("suites/nothing.yaml")


@pytest.mark.slow
def test_the_wheel_carries_its_data_and_works_without_the_checkout(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kdbench import resources\n"
        "for name in sys.argv[2:]: print(resources.path(name))\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", program, site, *NAMES],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == [str(site / "kdbench" / "_data" / name) for name in NAMES]
