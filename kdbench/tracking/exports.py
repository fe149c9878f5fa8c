"""Kept students as files: `kdbench export`."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdbench.errors import Mistake, UserError
from kdbench.tracking.uri import check, masked
from kdbench.tracking.writer import CLIENT_DEFAULTS

if TYPE_CHECKING:
    from torch import Tensor

    from kdbench.tracking.student import Packaged

Format = Literal["pt2", "onnx", "safetensors"]
FORMATS: tuple[Format, ...] = ("pt2", "onnx", "safetensors")
TOLERANCE = 1e-4  # largest difference of a logit between torch and what was written
BATCHES = (1, 7, 64)  # sizes at which that is checked


def export(
    suite: str, *, uri: str, label: str, pair: str, fraction: float, format: Format, out: Path
) -> Path:
    """Write the kept student of a method as one file and return its path.

    `pt2` is a `torch.export` program and `onnx` an ONNX model, both from uint8 images (N, c, h, w) to float32
    logits, for any N, with the preprocessing inside; `safetensors` is the weights, with a JSON of the same
    name beside them. `out` gets the format's suffix where it has none.

    Args:
        suite: the suite's name.
        uri: the tracking URI that knows the student.
        label: the method's label in the suite.
        pair: "resnet14->resnet8w4".
        fraction: of the training data.
        format: what to write.
        out: where.

    Raises:
        UserError: no such student is kept, or what the format needs is not installed.
        RuntimeError: what was written does not compute what torch does.

    """
    check(uri)
    with tempfile.TemporaryDirectory() as temporary:
        wanted = {"method": label, "pair": pair, "fraction": repr(fraction)}
        folder = _fetch(suite, uri, wanted, Path(temporary))
        suffix = f".{format}"
        path = out if out.suffix == suffix else out.with_name(out.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if format == "safetensors":
            return _copy(folder, path)
        from kdbench.tracking.student import open_folder

        student = open_folder(folder)
        return _write_pt2(student, path) if format == "pt2" else _write_onnx(student, path)


def _fetch(suite: str, uri: str, wanted: dict[str, str], into: Path) -> Path:
    """The portable form of the newest kept student that the latest plan knows."""
    for name, value in {**CLIENT_DEFAULTS, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}.items():
        os.environ.setdefault(name, value)
    import mlflow

    mlflow.set_tracking_uri(uri)  # downloads ask the global one, which would be made in this very folder
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(suite)
    found = client.search_logged_models([experiment.experiment_id]) if experiment else []
    kept = [
        model
        for model in sorted(found, key=lambda model: model.creation_timestamp, reverse=True)
        if model.status == "READY" and model.model_type == "kdbench.student"
    ]
    for model in kept:
        if all(model.tags.get(f"kdbench.{name}") == value for name, value in wanted.items()):
            run = client.get_run(model.source_run_id)
            if run.data.tags.get("kdbench.current") == "true":
                return Path(client.download_artifacts(run.info.run_id, "student", str(into)))
    names = ("method", "pair", "fraction")
    known = sorted({" ".join(model.tags[f"kdbench.{name}"] for name in names) for model in kept})
    allowed = f"a kept student in {masked(uri)}: " + ("; ".join(known) or "there is none")
    raise UserError([Mistake(key=f"export {suite}", given=" ".join(wanted.values()), allowed=allowed)])


def _copy(folder: Path, path: Path) -> Path:
    from kdbench.tracking.student import CARD, WEIGHTS

    shutil.copyfile(folder / CARD, path.with_suffix(".json"))
    return Path(shutil.copyfile(folder / WEIGHTS, path))


def _write_pt2(student: "Packaged", path: Path) -> Path:
    import torch

    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, *student.card.shape, dtype=torch.uint8)
    program = torch.export.export(student, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    _compare(student, lambda images: loaded(images).detach())
    return path


def _write_onnx(student: "Packaged", path: Path) -> Path:
    import torch

    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ModuleNotFoundError as error:
        allowed = f"with {error.name} installed: pip install 'kdbench[export]'"
        raise UserError([Mistake(key="--format", given="'onnx'", allowed=allowed)]) from None
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, *student.card.shape, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter warns of torch
        program = torch.onnx.export(
            student,
            (example,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - for mypy; dynamo=True gives a program
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _compare(student, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]))
    return path


def _compare(student: "Packaged", written: "Callable[[Tensor], Tensor]") -> None:
    """Raise RuntimeError unless what was written agrees with torch at every batch size."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for size in BATCHES:
        images = torch.randint(256, (size, *student.card.shape), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            difference = float((written(images) - student(images)).abs().max())
        if not difference <= TOLERANCE:
            raise RuntimeError(f"the exported student differs from torch by {difference:g} for {size} images")
