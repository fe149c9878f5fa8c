"""What every network returns, so that a distillation method can look anywhere inside it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Exit:
    """One classifier of a multi-exit network."""

    logits: Tensor  # (B, C)
    feature: Tensor  # (B, d) the pooled vector fed to this exit's linear layer


@dataclass(frozen=True)
class Outputs:
    """The forward pass of one network on one batch.

    `features[0]` is the stem, `features[i]` the output of stage i (after its ReLU); `preacts` are aligned
    with the stages: `preacts[i-1]` is what stage i's last ReLU receives. Convolutional nets give (B, c, h,
    w), MLPs (B, d).
    """

    logits: Tensor  # (B, C), raw
    features: tuple[Tensor, ...]  # stem, then one per stage
    preacts: tuple[Tensor, ...]  # one per stage, before the ReLU
    embedding: Tensor  # (B, d) what the last linear layer receives
    exits: tuple[Exit, ...] = ()  # shallow to deep; the last is this network's own classifier
