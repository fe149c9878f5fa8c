"""The networks: students and teachers whose forward gives Outputs."""

from kdbench.models import (  # noqa: F401 - each registers its families of names
    mlp,
    mobilenet,
    resnet,
    shufflenet,
    torchvision_models,
    vgg,
    wide_resnet,
)
from kdbench.models.exits import MultiExit
from kdbench.models.layers import use_generator
from kdbench.models.network import network
from kdbench.models.outputs import Exit, Outputs
from kdbench.models.registry import build, check, forms, names
from kdbench.models.weights import load, save
from kdbench.models.wrappers import Renormalised

__all__ = [
    "Exit",
    "MultiExit",
    "Outputs",
    "Renormalised",
    "build",
    "check",
    "forms",
    "load",
    "names",
    "network",
    "save",
    "use_generator",
]
