"""A user's mistake says where, what was given, what is allowed, and what was probably meant."""

import pytest

from kdbench.errors import Mistake, RangeError, UserError, mistake, require


def test_a_mistake_in_one_line():
    found = Mistake("search.trials", "0", "an integer >= 1", "mine.yaml")
    assert str(found) == "mine.yaml: search.trials: given 0; allowed: an integer >= 1"


def test_parts_that_are_not_there_leave_no_trace():
    assert (
        str(Mistake("", "an empty file", "a suite", "a.yaml"))
        == "a.yaml: given an empty file; allowed: a suite"
    )
    assert str(Mistake("--device", "'tpu'", "cpu")) == "--device: given 'tpu'; allowed: cpu"


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("hintn", "hinton"), ("quickstar", "quickstart"), ("zzzz", ""), (["hinton"], "hinton"), (3, "")],
)
def test_the_nearest_name(given, nearest):
    found = mistake("methods", given, "a method", names=["hinton", "fitnet", "quickstart"])
    assert found.nearest == nearest
    assert ("did you mean" in str(found)) == bool(nearest)
    assert found.given == repr(given)


def test_an_error_holds_all_mistakes_a_line_each():
    error = UserError(mistake(key, 0, "> 0") for key in ("a", "b"))
    assert [item.key for item in error.mistakes] == ["a", "b"]
    assert len(str(error).splitlines()) == 2


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_require_refuses_what_is_outside_and_nan(value):
    with pytest.raises(RangeError, match=r"lr: given .*; allowed: > 0") as caught:
        require(value > 0, "lr", "> 0", value)
    assert caught.value.key == "lr"
    assert isinstance(caught.value, ValueError)


def test_require_lets_pass_what_holds():
    require(True, "lr", "> 0", 1.0)
