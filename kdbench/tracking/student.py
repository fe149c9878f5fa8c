"""A student that can be handed on: the network with its preprocessing inside, and its portable form on disk.

The portable form is safetensors for the weights and a small JSON for everything else; it is all that
kdbench itself reads. MLflow's form is a pickled `Packaged`, for MLflow's own loaders.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbench import models
from kdbench.data.batches import normalise
from kdbench.training.saved import load_network

WEIGHTS, CARD = "student.safetensors", "student.json"
FORMAT = 1  # of the card


@dataclass(frozen=True)
class Card:
    """What must be known to use the weights. Lists, as JSON has them, become tuples."""

    model: str  # "resnet8w4"
    shape: tuple[int, int, int]  # channels, height, width of an image
    classes: tuple[str, ...]  # in the order of the logits
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("shape", "classes", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


class Packaged(nn.Module):
    """A student from pixels to logits.

    Pickled, it is its card and its weights, put together by `rebuild`: the file names no other code.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, card: Card):
        super().__init__()
        self.card = card
        self.model = model
        self.register_buffer("mean", torch.tensor(card.mean), persistent=False)
        self.register_buffer("std", torch.tensor(card.std), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Float32 logits (N, C) of images (N, c, h, w), pixels 0 … 255 as uint8 or any other type."""
        logits: Tensor = self.model(normalise(images.to(torch.uint8), self.mean, self.std)).logits
        return logits.float()

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (asdict(self.card), dict(self.model.state_dict()))


def rebuild(card: dict[str, Any], state: dict[str, Tensor]) -> Packaged:
    """The student of a card and a state, in eval mode on the CPU."""
    known = Card(**card)
    model = models.build(known.model, shape=known.shape, classes=len(known.classes), seed=0)
    model.load_state_dict(state)
    return Packaged(model, known)


def of_network(weights: Path) -> Packaged:
    """The student that a training left in `<key>.safetensors` and `<key>.json`.

    Of a network with several exits it is the one that was asked for: the deepest, without the others.
    """
    network, known = load_network(weights)
    card = Card(known.model, known.shape, known.classes, known.mean, known.std)
    return Packaged(network.backbone if isinstance(network, models.MultiExit) else network, card)


def write_folder(student: Packaged, folder: Path, facts: Mapping[str, str]) -> None:
    """Write the portable form; `facts` says in addition where the student comes from."""
    models.save(student.model, folder / WEIGHTS)
    card = {"format": FORMAT, **asdict(student.card), **facts}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")


def open_folder(folder: Path) -> Packaged:
    """The student in a folder with `student.safetensors` and `student.json`.

    Raises ValueError where the JSON is no card of a known format, UserError for weights that do not fit it.
    """
    values = json.loads((folder / CARD).read_text())
    if values.get("format") != FORMAT:
        raise ValueError(f"{folder / CARD} is no student card of format {FORMAT}")
    card = Card(**{name: values[name] for name in Card.__dataclass_fields__})
    model = models.load(card.model, folder / WEIGHTS, shape=card.shape, classes=len(card.classes))
    return Packaged(model, card)
