"""One searched parameter: a range or a list of choices, bounds inclusive at both ends."""

from dataclasses import dataclass
from typing import Literal

from kdbench.methods.contract import Scalar


@dataclass(frozen=True)
class Domain:
    """What a parameter may be during the search."""

    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    choices: tuple[Scalar, ...] = ()

    def contains(self, value: Scalar) -> bool:
        """Whether `value` lies inside, bounds included."""
        if self.kind == "categorical":
            return value in self.choices
        if isinstance(value, str) or self.low is None or self.high is None:
            return False
        return self.low <= value <= self.high and (self.kind == "float" or float(value).is_integer())


@dataclass(frozen=True)
class Override:
    """What a suite's `spaces:` puts in the place of a parameter's range, and perhaps of its default."""

    domain: Domain
    default: Scalar | None = None
