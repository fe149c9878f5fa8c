"""Distillation methods, one per file: each import below registers those of one file.

Everything outside this room names a method by its label, a registered name or a composition `a+b`.
"""

from kdbench.methods import (  # noqa: F401 - they register themselves
    ab,
    adv,
    at,
    ban,
    bss,
    byot,
    fitnet,
    fsp,
    hinton,
    label_refinery,
    original,
    rkd,
    specialists,
)
from kdbench.methods.registry import (
    Hyperparameter,
    check,
    get,
    hyperparameters,
    make,
    members,
    names,
    resolve,
)

__all__ = ["Hyperparameter", "check", "get", "hyperparameters", "make", "members", "names", "resolve"]
