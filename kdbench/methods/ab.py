"""Activation boundaries: make each hidden unit of the student active for the same inputs as the teacher's.

Source: Heo et al. 2019, arXiv:1811.03233. First stage: the hinge loss on the responses before the ReLUs,
the student's through connectors; second stage: soft targets. Defaults follow the authors' code: its second
stage is KL alone at T = 3 (alpha 1), there without T², here with it, as everywhere in kdbench.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdbench.losses import activation_agreement, activation_boundary
from kdbench.methods.connectors import connector_if_needed, unequal_stages
from kdbench.methods.contract import Batch, Network, Scalar, Stage, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import part, positive


@method("ab", source="arXiv:1811.03233")
@dataclass(frozen=True)
class Ab(Hinton):
    """Two stages: the activation boundaries alone, then soft targets."""

    extra: ClassVar[tuple[str, ...]] = ("margin", "beta", "init_share", "init_lr")
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    temperature: float = hyperparameter(3.0, "> 0; divides both logits in the second stage")
    alpha: float = hyperparameter(1.0, "in [0, 1]; weight of the soft targets, the labels get the rest")
    margin: float = hyperparameter(1.0, "> 0; how far beyond 0 a response must be to cost nothing")
    beta: float = hyperparameter(1.0, "> 0; multiplies the boundary loss in the first stage")
    init_share: float = hyperparameter(0.2, "in (0, 1); share of the epochs in the first stage")
    init_lr: float = hyperparameter(0.01, "> 0; peak learning rate of the first stage")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "margin", "beta", "init_lr")
        part(self, "init_share")

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """Networks whose hidden units do not face each other: unequal stages or sizes."""
        if teacher is None or (reason := unequal_stages(student, teacher)):
            return reason if teacher is not None else None
        for own, other in zip(student.preacts, teacher.preacts, strict=True):
            if own[1:] != other[1:]:
                return f"it compares unit with unit: student has {own}, teacher {other}"
        return None

    def stages(self) -> tuple[Stage, ...]:
        """The stages boundaries and distil."""
        return Stage("boundaries", self.init_share, self.init_lr), Stage("distil", 1 - self.init_share)

    def build(self, student: Network, teacher: Network | None) -> nn.Module:
        """One connector per stage."""
        assert teacher is not None
        pairs = zip(student.preacts, teacher.preacts, strict=True)
        return nn.ModuleList(connector_if_needed(*pair) for pair in pairs)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: activation_boundary in the first stage, hard and soft in the second."""
        teacher = batch.teacher_outputs.preacts
        if batch.stage != "boundaries":
            with torch.no_grad():
                _watch(batch, _connected(batch), teacher)
            return super().losses(batch)
        student = _connected(batch)
        _watch(batch, student, teacher)
        return {"activation_boundary": self.beta * activation_boundary(student, teacher, self.margin)}


def _connected(batch: Batch) -> list[Tensor]:
    assert isinstance(batch.connectors, nn.ModuleList)
    preacts = zip(batch.connectors, batch.student.preacts, strict=True)
    return [connect(preact) for connect, preact in preacts]


@torch.no_grad()
def _watch(batch: Batch, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Leave `agreement_<i>` for stage i, from 1: the share of units on the teacher's side of 0."""
    for stage, (own, other) in enumerate(zip(student, teacher, strict=True), start=1):
        batch.watched[f"agreement_{stage}"] = activation_agreement(own, other)
