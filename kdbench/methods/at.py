"""Attention transfer: match where in the image the channels of each stage are active.

Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928: activation-based attention with p = 2 over the residual
stages, beside the soft targets. beta 1000 is the default of the authors' code and of the comparisons after
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdbench.losses import attention
from kdbench.methods.connectors import unequal_stages
from kdbench.methods.contract import Batch, Need, Network, Scalar, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import positive


@method("at", source="arXiv:1612.03928")
@dataclass(frozen=True)
class At(Hinton):
    """Labels, soft targets and attention maps."""

    needs: ClassVar[frozenset[Need]] = frozenset({"maps"})
    extra: ClassVar[tuple[str, ...]] = ("beta",)
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    beta: float = hyperparameter(1000.0, "> 0; multiplies the attention loss")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "beta")

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """Networks with unequal numbers of stages."""
        return unequal_stages(student, teacher)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: hard, soft and attention; the stem has no attention map in the paper and none here."""
        maps = attention(batch.student.features[1:], batch.teacher_outputs.features[1:])
        return super().losses(batch) | {"attention": self.beta * maps}
