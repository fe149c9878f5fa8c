"""Names of networks: patterns such as `resnet<6n+2>`, each with what builds it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from kdbench.errors import Mistake, UserError, mistake

NUMBER = "([1-9][0-9]{0,5})"  # in a pattern: one spelling per number, small enough to be meant

Make = TypeVar("Make", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Site:
    """What a network is built for."""

    shape: tuple[int, int, int]  # channels, height, width of an image
    classes: int
    dropout: float = 0.0  # of hidden units, where the network has any


@dataclass(frozen=True)
class Family:
    """Networks that share a form of name."""

    form: str  # for people: "mlp-<width>x<depth>"
    pattern: re.Pattern[str]
    examples: tuple[str, ...]
    valid: Callable[..., bool]  # of the pattern's groups, numbers as int
    make: Callable[..., nn.Module]  # of a Site and those groups
    more: Callable[[], tuple[str, ...]]  # further names, looked up only to suggest the nearest

    def numbers(self, name: str) -> tuple[Any, ...] | None:
        """The groups of `name`, numbers as int; None where it is not of this family."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        groups = tuple(int(group) if group and group.isdigit() else group for group in match.groups())
        return groups if self.valid(*groups) else None


_families: list[Family] = []


def family(
    form: str,
    pattern: str,
    examples: tuple[str, ...],
    valid: Callable[..., bool],
    more: Callable[[], tuple[str, ...]] = tuple,
) -> Callable[[Make], Make]:
    """Register a function that makes the networks whose names match `pattern` and are `valid`.

    It is called with a Site and the pattern's groups (numbers as int) while torch's generator is seeded; what
    it returns takes normalised images (B, c, h, w) and gives Outputs. Raises ValueError for a form that is
    taken.
    """

    def register(make: Make) -> Make:
        if any(known.form == form for known in _families):
            raise ValueError(f"the model family {form!r} is registered already")
        _families.append(Family(form, re.compile(pattern), examples, valid, make, more))
        return make

    return register


def names() -> tuple[str, ...]:
    """One or more examples of every family; `forms` says what else there is."""
    return tuple(example for known in _families for example in known.examples)


def forms() -> tuple[str, ...]:
    """The forms of name: "resnet<6n+2>", …"""
    return tuple(known.form for known in _families)


def check(name: str) -> Mistake | None:
    """What is wrong with this name of a network; None if `build` knows it. Builds nothing."""
    return None if _find(name) else _unknown(name)


def build(
    name: str, *, shape: tuple[int, int, int], classes: int, seed: int, dropout: float = 0.0
) -> nn.Module:
    """The network `name` for images of `shape` (c, h, w), freshly initialised from `seed`, on the CPU.

    Equal arguments give equal weights; torch's global generators stay as they are. The network takes
    normalised images (B, c, h, w) and returns Outputs. With `dropout` > 0 give it a generator by
    `use_generator` before training. Raises UserError for an unknown name, or a shape that the network cannot
    take.
    """
    found = _find(name)
    if found is None:
        raise UserError([_unknown(name)])
    known, numbers = found
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # of the CPU alone; torch.manual_seed would touch CUDA's too
        return known.make(Site(shape, classes, dropout), *numbers)


def _unknown(name: str) -> Mistake:
    prefix = name.partition(":")[0] + ":"
    more = [other for known in _families if known.form.startswith(prefix) for other in known.more()]
    return mistake("model", name, ", ".join(forms()), names=more or names())


def _find(name: str) -> tuple[Family, tuple[Any, ...]] | None:
    for known in _families:
        numbers = known.numbers(name)
        if numbers is not None:
            return known, numbers
    return None
