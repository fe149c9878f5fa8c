"""Weights on disk: safetensors, which can hold nothing but tensors."""

from pathlib import Path

import safetensors
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from kdbench.atomic import replacing
from kdbench.errors import Mistake, UserError
from kdbench.models.registry import build
from kdbench.models.torchvision_models import TorchvisionNetwork

_ALLOWED = "a safetensors file of this very network"


def save(model: nn.Module, path: Path) -> Path:
    """Write the model's parameters and buffers to `path`, in one step: a reader never sees a part."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(path) as file:  # safetensors' own writing hides what the disk said
        file.write(save_bytes(state))
    return path


def load(name: str, path: Path, *, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network `name` with the weights in `path`, on the CPU, in eval mode.

    Reads what `save` wrote (of a MultiExit its own network, without the shallow exits), the layout
    that published ResNets share (`conv1 bn1 layer<i>.<j>.conv1 … linear`, or `fc` for the last; `module.` in
    front of all), and torchvision's own keys. Raises UserError (key `weights`) for a file that is missing, no
    safetensors, or of another network.
    """
    model = build(name, shape=shape, classes=classes, seed=0)
    state = _renamed(_read(Path(path)), model)
    problem = _difference(state, model.state_dict())
    if problem:
        raise UserError(
            [Mistake("weights", f"{path}, {problem}", f"{_ALLOWED}, {name} for {classes} classes")]
        )
    model.load_state_dict(state)
    return model.eval()


def _read(path: Path) -> dict[str, Tensor]:
    problem = ""
    if path.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin"):
        problem = "a pickle, which can run code when it is read"
    elif not path.is_file():
        problem = "which is no file"
    if not problem:
        try:
            return dict(load_file(path))
        except (safetensors.SafetensorError, OSError) as failure:
            problem = f"which cannot be read as safetensors ({failure})"
    raise UserError(
        [Mistake("weights", f"{path}, {problem}", f"{_ALLOWED}; nothing that can execute code is read")]
    )


def _renamed(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if all(f"backbone.{key}" in state for key in model.state_dict()):  # a MultiExit: its own network alone
        return {key: state[f"backbone.{key}"] for key in model.state_dict()}
    if isinstance(model, TorchvisionNetwork) and not any(key.startswith("extractor.") for key in state):
        return {f"extractor.{key}": value for key, value in state.items()}
    if "linear.weight" in model.state_dict() and "linear.weight" not in state:
        state = {
            ("linear." + key[3:] if key.startswith("fc.") else key): value for key, value in state.items()
        }
    return state


def _difference(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """What keeps `given` from being the state `wanted`, in words; "" where it fits."""
    missing = [key for key in wanted if key not in given]
    unknown = [key for key in given if key not in wanted]
    if missing or unknown:
        counts = f"{len(missing)} tensors missing, {len(unknown)} unknown"
        return f"which has {counts}, such as {(missing + unknown)[0]!r}"
    for key, value in wanted.items():
        if given[key].shape != value.shape:
            return f"where {key!r} has the shape {tuple(given[key].shape)} instead of {tuple(value.shape)}"
    return ""
