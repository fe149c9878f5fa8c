"""One source of randomness: equal labels give equal seeds everywhere, other labels unrelated ones."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.seeds import derive

LABELS = st.lists(
    st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)), max_size=4
)


def test_the_value_is_fixed_for_ever():
    # The first four bytes of the SHA-256 of `[0,"final","digits",2]`: changing it changes every result.
    assert derive(0, "final", "digits", 2) == 1_719_863_284


def test_another_process_derives_the_same():
    program = "from kdbench.seeds import derive; print(derive(7, 'trial', 'digits', 0.2, 3))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert int(printed) == derive(7, "trial", "digits", 0.2, 3)


@given(st.integers(), LABELS)
def test_a_seed_fits_every_generator(root, labels):
    assert 0 <= derive(root, *labels) < 2**32
    assert derive(root, *labels) == derive(root, *labels)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "final", "digits", 1), (1, "final", "digits", 1)),
        ((0, "final", "digits", 1), (0, "trial", "digits", 1)),
        ((0, "final", "digits", 1), (0, "final", "digits", 2)),
        ((0, "final", "digits", 1), (0, "final", "digits", "1")),
        ((0, "trial", 1.0, 0), (0, "trial", 1, 0)),
        ((0, "ab", "c"), (0, "a", "bc")),
    ],
)
def test_another_label_is_another_seed(one, other):
    assert derive(*one) != derive(*other)


def test_seeds_of_many_runs_do_not_collide():
    seeds = {
        derive(0, "trial", "digits", fraction, number) for fraction in (0.2, 1.0) for number in range(1000)
    }
    assert len(seeds) == 2000  # two thousand of 2**32: a collision has a chance of 5e-4
