"""Small trainings whose result is written down: `python tests/training/golden.py` writes it down anew.

Do that, and bump TRAINING_VERSION, when a change makes the same job train to other weights on purpose.
"""

import dataclasses
import hashlib
import json
import platform
import sys
from pathlib import Path

import torch
from torch import nn

from kdbench import data, models
from kdbench.data import DatasetSpec
from kdbench.training import TRAINING_VERSION, Trained, train
from kdbench.training.job import Job, Split
from kdbench.training.recipe import Recipe

FILE = Path(__file__).with_suffix(".json")
SPEC = DatasetSpec("digits")
SPLIT = Split(validation=0.2, seed=0, fraction=0.2)
STEP = {"step": {"at": [0.5], "gamma": 0.1}}

# name -> (method, model, recipe)
CASES = {
    "original": ("original", "resnet8w2", {"augment": "crop-flip"}),
    "hinton": ("hinton", "mlp-16x2", {"optimizer": "adamw", "dropout": 0.2, "lr": 0.01, "max_norm": 1.0}),
    "fitnet": ("fitnet", "resnet8w2", {"schedule": STEP, "augment": "none"}),
}


def run(name: str) -> Trained:
    """Train one case on one thread."""
    torch.set_num_threads(1)
    method, model, recipe = CASES[name]
    facts = data.facts(SPEC)
    settings = {"epochs": 4, "updates": "scaled", "lr": 0.02, **recipe}
    job = Job(
        dataset=dataclasses.asdict(SPEC),
        dataset_hash=facts.content_hash,
        split=SPLIT,
        model=model,
        recipe=Recipe(**settings),
        seed=1,
        method=method,
    )
    teacher = (
        models.build("resnet8w4", shape=facts.shape, classes=10, seed=5) if method != "original" else None
    )
    return train(job, data.make_training(SPEC, facts, SPLIT, "cpu"), teacher, "cpu")


def digest(network: nn.Module) -> str:
    """SHA-256 of all weights, bit by bit."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()


def machine() -> dict[str, str]:
    """What the bits of a training may depend on beside its job."""
    return {
        "torch": torch.__version__,
        "cpu": " ".join(_cpuinfo()) or platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _cpuinfo() -> list[str]:
    """Name, family and model of the first processor, where Linux says so."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    known = {pair[0]: pair[1] for pair in reversed(pairs)}
    return [known[name] for name in ("model name", "cpu family", "model") if name in known]


def result(trained: Trained) -> dict[str, object]:
    """What is written down of one case."""
    losses = [epoch.metrics["train/loss"] for epoch in trained.history]
    return {"sha256": digest(trained.student), "losses": losses}


def main() -> None:
    """Write everything down; with a case's name, only print its digest."""
    if len(sys.argv) > 1:
        print(digest(run(sys.argv[1]).student))
        return
    cases = {name: result(run(name)) for name in CASES}
    content = {"training_version": TRAINING_VERSION, "machine": machine(), "cases": cases}
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
