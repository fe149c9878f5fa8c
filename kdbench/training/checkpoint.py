"""Checkpoints: a safetensors file per network in training, with JSON in its header. Nothing in it can run."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from kdbench.atomic import replacing

_log = logging.getLogger(__name__)

CHECKPOINT_VERSION = 1


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], owner: str) -> None:
    """Replace `path` in one step by these tensors and this JSON-able state.

    `owner` says whose it is: `load` gives it back to nobody else.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"version": CHECKPOINT_VERSION, "owner": owner, "state": state})
    data = safetensors.torch.save(kept, {"json": text, "checksum": str(_checksum(kept, text))})
    with replacing(path) as file:
        file.write(data)


def load(path: Path, owner: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the state in `path`; None where there is no file or, with a warning, no usable one."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if header["checksum"] != str(_checksum(tensors, header["json"])):
            raise ValueError("its checksum does not fit")
        content = json.loads(header["json"])
        if content["version"] != CHECKPOINT_VERSION or content["owner"] != owner:
            raise ValueError("it belongs to another training or another version of kdbench")
    except FileNotFoundError:
        return None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as problem:
        _log.warning("checkpoint %s is not used, the training starts again: %s", path, problem)
        return None
    return tensors, content["state"]


def _checksum(tensors: Mapping[str, Tensor], text: str) -> int:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, value)
    return value
