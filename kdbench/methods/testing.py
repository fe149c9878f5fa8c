"""Batches for tests of methods: what the trainer would hand to `losses`, from tensors or two networks."""

import torch
from torch import Tensor, nn

from kdbench.methods.contract import Batch
from kdbench.models.outputs import Exit, Outputs


def outputs_of(
    logits: Tensor,
    *,
    features: tuple[Tensor, ...] = (),
    preacts: tuple[Tensor, ...] = (),
    embedding: Tensor | None = None,
    exits: tuple[Exit, ...] = (),
) -> Outputs:
    """Outputs with what the test is about; the embedding is the logits (B, C) unless given."""
    return Outputs(logits, features, preacts, logits if embedding is None else embedding, exits)


def batch_of(
    student: Outputs,
    teacher: Outputs | None = None,
    *,
    labels: Tensor | None = None,
    stage: str = "distil",
    epoch: int = 1,
    epochs: int = 1,
    connectors: nn.Module | None = None,
    seed: int = 0,
) -> Batch:
    """A batch of what two networks have said, for methods that do not call the networks themselves.

    Labels (B,) are class 0 unless given; the images are black.
    """
    size = len(student.logits)
    return Batch(
        images=torch.zeros(size, 1, 8, 8),
        labels=torch.zeros(size, dtype=torch.int64) if labels is None else labels,
        student=student,
        teacher=teacher,
        student_model=nn.Identity(),
        teacher_model=None if teacher is None else nn.Identity(),
        connectors=connectors,
        stage=stage,
        epoch=epoch,
        epochs=epochs,
        progress=epoch / epochs,
        generator=torch.Generator().manual_seed(seed),
        pixel_range=(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)),
    )


def forward(  # noqa: PLR0913
    student: nn.Module,
    teacher: nn.Module | None,
    images: Tensor,
    labels: Tensor,
    *,
    stage: str = "distil",
    epoch: int = 1,
    epochs: int = 4,
    connectors: nn.Module | None = None,
    seed: int = 0,
) -> Batch:
    """A batch of two networks and images (B, c, h, w) of pixels in [0, 1], both forwards done.

    The networks run in the mode that they are in.
    """
    taught = None
    if teacher is not None:
        with torch.no_grad():
            taught = teacher(images)
    low = images.new_zeros(1, images.shape[1], 1, 1)
    return Batch(
        images=images,
        labels=labels,
        student=student(images),
        teacher=taught,
        student_model=student,
        teacher_model=teacher,
        connectors=connectors,
        stage=stage,
        epoch=epoch,
        epochs=epochs,
        progress=epoch / epochs,
        generator=torch.Generator(images.device).manual_seed(seed),
        pixel_range=(low, low + 1),
    )
