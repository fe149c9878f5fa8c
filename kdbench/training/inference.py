"""What a network answers on whole sets of images, always in eval mode and float32."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbench.data import Images
from kdbench.training.inputs import Pixels
from kdbench.training.precision import exact

_CHUNK = {
    "cpu": 256,
    "cuda": 2048,
}  # images of one forward; equal on every run, since it may show in the last bit


@dataclass(frozen=True)
class Score:
    """How good answers are."""

    accuracy: float  # in [0, 1]
    loss: float  # mean cross-entropy, nats


def chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    """`tensor` (N, …) in pieces that one forward can take."""
    return torch.split(tensor, _CHUNK.get(tensor.device.type, 256))


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, pixels: Pixels) -> Tensor:
    """Logits (N, C) float32 for uint8 images (N, c, h, w); the model comes back in the mode it was in."""
    training = model.training
    model.eval()
    with exact(images.device):
        logits = torch.cat([model(pixels(chunk)).logits for chunk in chunks(images)])
    model.train(training)
    return logits.float()


def score(logits: Tensor, labels: Tensor) -> Score:
    """Of logits (N, C) for labels (N,). Ties go to the lower class."""
    correct = (logits.argmax(1) == labels).double().mean()
    return Score(float(correct), float(functional.cross_entropy(logits, labels)))


def validate(model: nn.Module, images: Images, pixels: Pixels) -> Score:
    """How good `model` is on `images`."""
    return score(predict(model, images.images, pixels), images.labels)
