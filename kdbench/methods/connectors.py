"""Between a student's features and a teacher's: a trained layer translates channels, pooling sizes."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.methods.contract import Network

Shape = tuple[int, ...]  # of one sample: (c, h, w) or (d,)


def connector(student: Shape, teacher: Shape) -> nn.Module:
    """Student's to teacher's channels: 1x1 convolution without bias + BN; a linear layer for vectors."""
    if len(student) == 1:
        return nn.Linear(student[0], teacher[0])
    return nn.Sequential(nn.Conv2d(student[0], teacher[0], 1, bias=False), nn.BatchNorm2d(teacher[0]))


def connector_if_needed(student: Shape, teacher: Shape) -> nn.Module:
    """A connector where the channels differ, the identity where they agree."""
    return nn.Identity() if student[0] == teacher[0] else connector(student, teacher)


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both (B, c, h, w) features at the smaller height and width, average-pooled; (B, d) as they are."""
    if student.dim() == 2:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)


def unequal_stages(student: Network, teacher: Network | None) -> str | None:
    """Why features cannot be compared stage by stage; None if they can."""
    if teacher is None or len(student.features) == len(teacher.features):
        return None
    stages = f"{student.name} has {len(student.features) - 1}, {teacher.name} {len(teacher.features) - 1}"
    return f"it compares the networks stage by stage and they have unequal numbers of stages: {stages}"


def unlike(student: Shape, teacher: Shape) -> str | None:
    """Why no connector leads from one feature to the other; None if one does."""
    if len(student) == len(teacher):
        return None
    return f"it compares features and these are of different kinds: student {student}, teacher {teacher}"
