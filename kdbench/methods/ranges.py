"""Range checks that the hyperparameters of several methods share. NaN and infinity fail every one of them."""

from kdbench.errors import require
from kdbench.methods.contract import Method


def positive(method: Method, *names: str) -> None:
    """Raise RangeError unless each named hyperparameter is > 0."""
    for name in names:
        value = getattr(method, name)
        require(0 < value < float("inf"), name, "> 0", value)


def not_negative(method: Method, *names: str) -> None:
    """Raise RangeError unless each named hyperparameter is >= 0."""
    for name in names:
        value = getattr(method, name)
        require(0 <= value < float("inf"), name, ">= 0", value)


def share(method: Method, *names: str) -> None:
    """Raise RangeError unless each named hyperparameter is in [0, 1]."""
    for name in names:
        value = getattr(method, name)
        require(0 <= value <= 1, name, "in [0, 1]", value)


def part(method: Method, *names: str) -> None:
    """Raise RangeError unless each named hyperparameter is in (0, 1): something, not all."""
    for name in names:
        value = getattr(method, name)
        require(0 < value < 1, name, "in (0, 1)", value)


def at_least_one(method: Method, *names: str) -> None:
    """Raise RangeError unless each named hyperparameter is >= 1."""
    for name in names:
        value = getattr(method, name)
        require(1 <= value < float("inf"), name, ">= 1", value)
