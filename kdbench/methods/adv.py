"""Boundary distillation with other samples: noise and adversarial attacks instead of the boundary search.

Source: Heo et al. 2019, arXiv:1805.05532, section 4.3, which compares them with its search; bss.py has the
loss. An attack takes at most `max_steps` gradients of the teacher per sample, as `bss` does; FGSM takes
one, noise none. Each method has the hyperparameters that its attack uses, and no others.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.boundary import BoundarySamples, attacks
from kdbench.methods.bss import MovedSamples
from kdbench.methods.contract import Batch, hyperparameter, method
from kdbench.methods.ranges import at_least_one, positive


def _moved(
    source: attacks.Source, batch: Batch, network: nn.Module, chosen: Tensor, step_size: float, max_steps: int
) -> BoundarySamples:
    budget = attacks.Budget(step_size, max_steps, batch.pixel_range, batch.generator)
    return source(network, batch.images[chosen], batch.labels[chosen], budget)


@method("adv-noise", source="arXiv:1805.05532")
@dataclass(frozen=True)
class AdvNoise(MovedSamples):
    """Noise of FGSM's size: what moving images costs or brings without asking the teacher where to."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "temperature", "base_samples", "step_size")

    step_size: float = hyperparameter(0.3, "> 0; size of the noise, in units of normalised images")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "step_size")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Up or down by chance."""
        return _moved(attacks.noise, batch, network, chosen, self.step_size, 1)


@method("adv-fgsm", source="arXiv:1412.6572")
@dataclass(frozen=True)
class AdvFgsm(MovedSamples):
    """One step along the sign of the gradient."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "temperature", "base_samples", "step_size")

    step_size: float = hyperparameter(0.3, "> 0; of every value, in units of normalised images")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "step_size")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Away from the label."""
        return _moved(attacks.fgsm, batch, network, chosen, self.step_size, 1)


@method("adv-bim", source="arXiv:1607.02533")
@dataclass(frozen=True)
class AdvBim(MovedSamples):
    """The same distance in several steps."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "temperature", "base_samples", "step_size", "max_steps")

    step_size: float = hyperparameter(0.3, "> 0; of every value, all steps together, in normalised units")
    max_steps: int = hyperparameter(10, ">= 1; steps, each with a gradient of the teacher")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "step_size")
        at_least_one(self, "max_steps")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Away from the label."""
        return _moved(attacks.bim, batch, network, chosen, self.step_size, self.max_steps)


@method("adv-deepfool", source="arXiv:1511.04599")
@dataclass(frozen=True)
class AdvDeepFool(MovedSamples):
    """To the nearest boundary of a linearised teacher, again and again."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "temperature", "base_samples", "max_steps")

    max_steps: int = hyperparameter(10, ">= 1; steps, each with a gradient of the teacher")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        at_least_one(self, "max_steps")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Across the boundary to the second most probable class."""
        return _moved(attacks.deepfool, batch, network, chosen, 1.0, self.max_steps)


@method("adv-cw", source="arXiv:1608.04644")
@dataclass(frozen=True)
class AdvCw(MovedSamples):
    """The smallest move that Carlini and Wagner's optimisation finds."""

    extra: ClassVar[tuple[str, ...]] = ("beta", "temperature", "base_samples", "step_size", "max_steps")

    step_size: float = hyperparameter(0.3, "> 0; of Adam, all steps together, in the attack's own space")
    max_steps: int = hyperparameter(10, ">= 1; Adam steps, each with a gradient of the teacher")

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        positive(self, "step_size")
        at_least_one(self, "max_steps")

    def move(self, batch: Batch, network: nn.Module, chosen: Tensor) -> BoundarySamples:
        """Just out of the label's class."""
        return _moved(attacks.cw, batch, network, chosen, self.step_size, self.max_steps)
