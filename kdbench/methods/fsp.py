"""Flow of the solution procedure: match how each layer's channels relate to the next layer's.

Source: Yim et al. 2017 (A Gift from Knowledge Distillation, CVPR). First stage: the Gram matrices between
consecutive layers alone; second stage: the task. The paper needs equal channels; where they differ, 1x1
connectors on the student's features are trained too. beta is 1: the 50 in RepDistiller's script is never
applied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.losses import fsp
from kdbench.methods.connectors import connector_if_needed, unequal_stages
from kdbench.methods.contract import Batch, Need, Network, Scalar, Stage, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import part, positive


@method("fsp", source="Yim et al. 2017, CVPR")
@dataclass(frozen=True)
class Fsp(Hinton):
    """Two stages: the flow matrices alone, then labels and soft targets."""

    needs: ClassVar[frozenset[Need]] = frozenset({"maps"})
    extra: ClassVar[tuple[str, ...]] = ("beta", "init_share", "init_lr")
    published: ClassVar[Mapping[str, Scalar]] = {"alpha": 0.0}

    beta: float = hyperparameter(1.0, "> 0; multiplies the flow loss in the first stage")
    init_share: float = hyperparameter(0.2, "in (0, 1); share of the epochs in the first stage")
    init_lr: float = hyperparameter(0.01, "> 0; peak learning rate of the first stage")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "beta", "init_lr")
        part(self, "init_share")

    def refuses(self, student: Network, teacher: Network | None) -> str | None:
        """Networks with unequal numbers of stages."""
        return unequal_stages(student, teacher)

    def stages(self) -> tuple[Stage, ...]:
        """The stages flow and distil."""
        return Stage("flow", self.init_share, self.init_lr), Stage("distil", 1 - self.init_share)

    def build(self, student: Network, teacher: Network | None) -> nn.Module:
        """One connector per feature, the stem's first."""
        assert teacher is not None
        pairs = zip(student.features, teacher.features, strict=True)
        return nn.ModuleList(connector_if_needed(*pair) for pair in pairs)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms: flow in the first stage, hard and soft in the second."""
        if batch.stage != "flow":
            return super().losses(batch)
        assert isinstance(batch.connectors, nn.ModuleList)
        features = zip(batch.connectors, batch.student.features, strict=True)
        translated = [connect(feature) for connect, feature in features]
        return {"flow": self.beta * fsp(translated, batch.teacher_outputs.features)}
