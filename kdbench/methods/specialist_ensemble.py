"""A generalist and its specialists as one network: the class probabilities that agree best with all of them.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 5.3. A specialist here keeps the generalist's
classes as outputs, and the dustbin is the sum of the probabilities of those it does not know. The paper
says that specialists start from the generalist's weights and not how the dustbin's output starts; this way
a specialist's first prediction is exactly the generalist's, whatever the network.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdbench.models.outputs import Outputs

# Probabilities are then off by rounding where logits are drawn independently with a deviation of 3, and at
# worst by 1e-5 with one of 6, where specialists flatly contradict each other (500 samples, 20 classes).
STEPS = 400


def dustbin_merged(logits: Tensor, group: Tensor) -> Tensor:
    """Logits (B, C + 1) of the classes in `group` (C,) bool and, last, of the dustbin: all others together.

    The classes outside the group get the lowest finite number, probability 0, at their own places.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    none = torch.finfo(logits.dtype).min
    dustbin = torch.where(group, none, logits).logsumexp(dim=1, keepdim=True)
    return torch.cat([torch.where(group, logits, none), dustbin], dim=1)


def agree(general: Tensor, special: Tensor, groups: Tensor, active: Tensor, steps: int = STEPS) -> Tensor:
    """Logits z (B, C) whose softmax q minimises `KL(p_g, q) + Σ_m KL(p_m, q)` over the active specialists m.

    `general` (B, C) is p_g; `special` (M, B, C + 1) is p_m, its dustbin last and compared with the sum of q
    over the classes outside the group; `groups` (M, C) and `active` (M, B) are bool. All samples at once,
    from p_g.

    Each step is `q ← q − ∇_z / (1 + |A|)`: gradient descent on z measured in probabilities (the natural
    gradient), which is the step of expectation maximisation too, so that none goes up, and one is enough
    where no two active groups overlap. Steps of one size for all z need thousands for classes with little
    probability. z has mean 0.
    """
    tiny = torch.finfo(general.dtype).tiny
    outside = ~groups[:, None, :]
    weight = active[:, :, None].to(general.dtype)
    known = general + (weight * special[:, :, :-1]).sum(0)
    dustbin = weight * special[:, :, -1:]
    q = general.clamp_min(tiny)
    for _ in range(steps):
        rest = torch.where(outside, q, 0)
        share = rest / rest.sum(2, keepdim=True).clamp_min(tiny)
        # count q minus the gradient: what the distributions want, a dustbin shared out as q shares it
        q = ((known + (dustbin * share).sum(0)) / (1 + weight.sum(0))).clamp_min(tiny)
    z = q.log()
    return z - z.mean(1, keepdim=True)


class SpecialistEnsemble(nn.Module):
    """Generalist and specialists; gives the generalist's Outputs with the logits that agree with all."""

    groups: Tensor  # (M, C) bool: the classes each specialist knows
    correction: Tensor  # (M,) added to the dustbin's logit, because special images were oversampled

    def __init__(
        self, generalist: nn.Module, specialists: Sequence[nn.Module], groups: Tensor, oversampling: Tensor
    ):
        super().__init__()
        self.generalist = generalist
        self.specialists = nn.ModuleList(specialists)
        self.register_buffer("groups", groups)
        self.register_buffer("correction", oversampling.log())

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images. The generalist's most probable class picks the specialists."""
        outputs: Outputs = self.generalist(images)
        general = outputs.logits.to(torch.promote_types(outputs.logits.dtype, torch.float32)).softmax(1)
        if not self.specialists:
            return outputs
        special = torch.stack([self._special(number, images) for number in range(len(self.specialists))])
        active = self.groups[:, general.argmax(1)]
        return replace(outputs, logits=agree(general, special.to(general.dtype), self.groups, active))

    def _special(self, number: int, images: Tensor) -> Tensor:
        """(B, C + 1) probabilities of one specialist, the dustbin last."""
        merged = dustbin_merged(self.specialists[number](images).logits, self.groups[number])
        dustbin = nn.functional.one_hot(torch.tensor(merged.shape[1] - 1), merged.shape[1]).to(merged)
        return (merged + dustbin * self.correction[number].to(merged.dtype)).softmax(1)


class Probabilities(nn.Module):
    """The softmax of the ensemble: images -> (B, C)."""

    covering: Tensor  # (C,) int64: how many specialists know each class

    def __init__(self, network: SpecialistEnsemble):
        super().__init__()
        self.network = network
        self.register_buffer("covering", network.groups.sum(0))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (B, C) of normalised images (B, c, h, w)."""
        logits: Tensor = self.network(images).logits
        return logits.softmax(1)
