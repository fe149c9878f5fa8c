"""Stratified validation split and nested stratified data fractions of the training images."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data.order import ranks_within_class, share_of_class
from kdbench.errors import Mistake, UserError, mistake
from kdbench.seeds import derive

if TYPE_CHECKING:  # kdbench.training imports kdbench.data
    from kdbench.training.job import Split


@dataclass(frozen=True)
class Indices:
    """Which training images are for what; int64, ascending."""

    train: Tensor  # the fraction, without the omitted classes
    validation: Tensor  # the same for every fraction; keeps the omitted classes
    full: int  # number of training samples at fraction 1.0, before classes are omitted


def split(labels: Tensor | NDArray[np.int64], split: "Split") -> Indices:
    """Split the training images with these `labels` (N,) as `split` says.

    Of every class, the share `split.validation` is held out (within one sample), and `split.fraction` of the
    rest is used. A smaller fraction is a subset of every larger one. Both come from `split.seed` alone.

    Raises UserError where a class would be left without a validation image (key `data.validation`) or a
    training image (key `fractions`), and for omitted classes that do not exist or leave none (key
    `data.omit_classes`).
    """
    classes = np.asarray(labels, dtype=np.int64)
    _refuse(_omission_mistakes(classes, split.omit_classes))
    held_out = share_of_class(classes, split.validation)
    in_validation = ranks_within_class(classes, derive(split.seed, "validation")) < held_out
    rest = np.flatnonzero(~in_validation)
    _refuse(_validation_mistakes(classes, in_validation, split.validation))

    used = share_of_class(classes[rest], split.fraction)
    _refuse(_fraction_mistakes(classes[rest], used, split.fraction))
    train = rest[ranks_within_class(classes[rest], derive(split.seed, "fraction")) < used]
    train = train[~np.isin(classes[train], split.omit_classes)]
    return Indices(torch.from_numpy(train), torch.from_numpy(np.flatnonzero(in_validation)), len(rest))


def _refuse(mistakes: list[Mistake]) -> None:
    if mistakes:
        raise UserError(mistakes)


def _omission_mistakes(classes: NDArray[np.int64], omitted: tuple[int, ...]) -> list[Mistake]:
    present = np.unique(classes)
    allowed = f"some, not all, of the classes 0 to {present.max(initial=0)}"
    if np.isin(omitted, present).all() and not np.isin(present, omitted).all():
        return []
    return [mistake("data.omit_classes", list(omitted), allowed)]


def _validation_mistakes(classes: NDArray[np.int64], held: NDArray[np.bool_], share: float) -> list[Mistake]:
    present, counts = np.unique(classes, return_counts=True)
    smallest = present[counts.argmin()]
    allowed = (
        f"a share that holds out and leaves at least one image of class {smallest}, which has {counts.min()}"
    )
    both = np.isin(present, classes[held]) & np.isin(present, classes[~held])
    return [] if both.all() else [mistake("data.validation", share, allowed)]


def _fraction_mistakes(classes: NDArray[np.int64], used: NDArray[np.int64], fraction: float) -> list[Mistake]:
    if (used > 0).all():
        return []
    present, counts = np.unique(classes, return_counts=True)
    least = math.ceil(0.5 / counts.min() * 1e4) / 1e4
    allowed = f"at least {least}, so that class {present[counts.argmin()]} keeps an image"
    return [mistake("fractions", fraction, allowed)]
