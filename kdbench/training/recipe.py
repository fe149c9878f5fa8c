"""How a network is optimised: the suite's `training:` and `teacher:` keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kdbench.errors import require

OPTIMIZERS = ("sgd", "adamw")
AUGMENTATIONS = ("auto", "none", "shift", "crop", "crop-flip")
UPDATES = ("equal", "scaled")
MOST = 1_000_000  # epochs, images in a batch, trials, seeds: beyond that it is a slip of the keyboard


@dataclass(frozen=True)
class Recipe:
    """Everything about the optimisation that is not the method's own."""

    # For a suite: unknown keys, NaN and infinities are refused, words and booleans are no numbers.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }

    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9  # in [0, 1); of SGD
    nesterov: bool = True  # of SGD; needs momentum > 0
    lr: float = 0.05  # > 0; peak learning rate
    weight_decay: float = 5e-4  # >= 0
    schedule: str | Mapping[str, Any] = "cosine"  # cosine | constant | {step: {at: [0.5, 0.75], gamma: 0.1}}
    epochs: int = 30  # >= 1; one epoch is U updates (see `updates`)
    batch_size: int = 128  # >= 2
    augment: Literal["auto", "none", "shift", "crop", "crop-flip"] = "auto"
    dropout: float = 0.0  # in [0, 1); of hidden units, where the model has any
    max_norm: float | None = None  # > 0; cap on the L2 norm of each hidden unit's incoming weights
    updates: Literal["equal", "scaled"] = (
        "equal"  # an epoch's updates: as at fraction 1.0, or as at this fraction
    )

    def __post_init__(self) -> None:
        """Raise RangeError for the first field out of its range."""
        require(self.optimizer in OPTIMIZERS, "optimizer", " | ".join(OPTIMIZERS), self.optimizer)
        require(0 <= self.momentum < 1, "momentum", "in [0, 1)", self.momentum)
        require(
            not self.nesterov or self.momentum > 0, "nesterov", "false where momentum is 0", self.nesterov
        )
        require(0 < self.lr < float("inf"), "lr", "> 0", self.lr)
        require(0 <= self.weight_decay < float("inf"), "weight_decay", ">= 0", self.weight_decay)
        require(1 <= self.epochs <= MOST, "epochs", f"an integer from 1 to {MOST}", self.epochs)
        require(2 <= self.batch_size <= MOST, "batch_size", f"an integer from 2 to {MOST}", self.batch_size)
        require(self.augment in AUGMENTATIONS, "augment", " | ".join(AUGMENTATIONS), self.augment)
        require(0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)
        require(self.max_norm is None or self.max_norm > 0, "max_norm", "null or > 0", self.max_norm)
        require(self.updates in UPDATES, "updates", " | ".join(UPDATES), self.updates)
        if not isinstance(self.schedule, str):
            _check_step(self.schedule)
        else:
            require(self.schedule in ("cosine", "constant"), "schedule", SCHEDULES, self.schedule)


SCHEDULES = "cosine | constant | {step: {at: [0.5, 0.75], gamma: 0.1}}"


def _check_step(schedule: Mapping[str, Any]) -> None:
    step = schedule.get("step")
    require(set(schedule) == {"step"} and isinstance(step, Mapping), "schedule", SCHEDULES, schedule)
    require(set(step or ()) == {"at", "gamma"}, "schedule.step", "at and gamma", step)
    assert isinstance(step, Mapping)  # noqa: S101 - for mypy; required above
    at, gamma = step["at"], step["gamma"]
    shares = isinstance(at, Sequence) and len(at) > 0 and all(_is_share(share) for share in at)
    require(
        shares and list(at) == sorted(set(at)),
        "schedule.step.at",
        "rising shares of the epochs in (0, 1)",
        at,
    )
    require(_is_share(gamma), "schedule.step.gamma", "in (0, 1)", gamma)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < 1
