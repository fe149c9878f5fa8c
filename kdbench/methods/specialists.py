"""Specialists: copies of the teacher that train on classes it confuses; one student is taught by all.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 5. The generalist is the pair's teacher. Its
classes are grouped by how their predictions vary together; a specialist starts from the generalist, knows
its own group and one dustbin class, and trains on half special, half other images. What the paper did not
show comes last: the ensemble of all of them (specialist_ensemble.py) is distilled back into one student.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.errors import require
from kdbench.methods.contract import Batch, Context, Method, Need, Prepared, hyperparameter, method
from kdbench.methods.hinton import Hinton
from kdbench.methods.ranges import at_least_one, not_negative
from kdbench.methods.specialist_ensemble import Probabilities, SpecialistEnsemble, dustbin_merged

CHUNK = 512  # images per forward of the generalist; bounds the memory


@method("specialists", source="arXiv:1503.02531")
@dataclass(frozen=True)
class Specialists(Hinton):
    """Labels and the soft targets of generalist and specialists together."""

    needs: ClassVar[frozenset[Need]] = frozenset({"three-classes"})
    fixed: ClassVar[tuple[str, ...]] = ("clusters", "classes_per_specialist", "specialist_epochs")

    clusters: int = hyperparameter(3, ">= 1; groups of classes, one specialist each")
    classes_per_specialist: int = hyperparameter(
        0, "0 or >= 2; classes in a group, at most all but one; 0 is max(2, classes / clusters rounded up)"
    )
    specialist_epochs: int = hyperparameter(
        0, ">= 0; of each specialist's training; 0 is a quarter of the student's"
    )

    def __post_init__(self) -> None:
        """Raise RangeError for a value out of its range."""
        super().__post_init__()
        at_least_one(self, "clusters")
        not_negative(self, "specialist_epochs")
        size = self.classes_per_specialist
        require(size == 0 or 2 <= size < float("inf"), "classes_per_specialist", "0 or >= 2", size)

    def prepare(self, context: Context) -> Prepared:
        """Group the classes, train a specialist for each group, and put them beside the generalist."""
        generalist = context.teacher
        assert generalist is not None
        seed = int(torch.randint(2**31, (), generator=context.generator, device=context.generator.device))
        size = self.classes_per_specialist or max(2, -(-context.classes // self.clusters))
        predictions = _predictions(generalist, context.images)
        groups = confusable_classes(predictions, self.clusters, min(size, context.classes - 1), seed)
        epochs = self.specialist_epochs or max(1, round(context.epochs / 4))
        special = groups.to(context.labels.device)[:, context.labels]  # (M, n): is this image special?
        trained = special.any(1) & ~special.all(1)  # a group may have no image, where classes are omitted
        specialists = [
            context.train(
                f"specialist-{number}",
                Specialist(tuple(groups[number].nonzero().flatten().tolist())),
                teacher=None,
                start=generalist,
                epochs=epochs,
                sampling=half_and_half(special[number]),
            )
            for number in trained.nonzero().flatten().tolist()
        ]
        kept = trained.cpu()
        ensemble = SpecialistEnsemble(generalist, specialists, groups[kept], oversampling(special[trained]))
        ensemble.to(context.images.device).eval().requires_grad_(False)
        return Prepared(teacher=ensemble, ensemble=Probabilities(ensemble))


@dataclass(frozen=True)
class Specialist(Method):
    """The task of one specialist: cross-entropy over its classes and the dustbin. Not a method by itself."""

    classes: tuple[int, ...]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term: hard, in nats."""
        logits = batch.student.logits
        group = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        group[list(self.classes)] = True
        merged = dustbin_merged(logits, group)
        dustbin = torch.full_like(batch.labels, logits.shape[1])
        return {"hard": F.cross_entropy(merged, torch.where(group[batch.labels], batch.labels, dustbin))}


def confusable_classes(predictions: Tensor, clusters: int, size: int, seed: int) -> Tensor:
    """(M, C) bool: groups of `size` classes that the generalist predicts together.

    Online k-means on the columns of the covariance matrix of the predictions (n, C); a group is the `size`
    columns nearest to its centre, so that groups may overlap, as the paper's do. M is at most `clusters`:
    equal groups are one.
    """
    from sklearn.cluster import MiniBatchKMeans  # here: it takes longer to import than torch

    columns = torch.cov(predictions.double().T).cpu().numpy()  # symmetric: rows are columns
    clusters = min(clusters, len(columns))
    means = MiniBatchKMeans(clusters, batch_size=len(columns), n_init=10, random_state=seed).fit(columns)
    distances = torch.cdist(torch.from_numpy(means.cluster_centers_), torch.from_numpy(columns))
    nearest = distances.argsort(dim=1, stable=True)[:, :size]
    groups = torch.zeros(clusters, len(columns), dtype=torch.bool).scatter(1, nearest, True)
    weights: Tensor = torch.unique(groups, dim=0)
    return weights


def half_and_half(special: Tensor) -> Tensor:
    """Weights (n,) by which half the draws are special images (bool, (n,)) and half come from the rest."""
    return torch.where(special, 0.5 / special.sum(), 0.5 / (~special).sum())


def oversampling(special: Tensor) -> Tensor:
    """(M,): how many times more often than in the data a special image (bool, (M, n)) is drawn."""
    count = special.sum(1)
    ratio: Tensor = (special.shape[1] - count) / count
    return ratio


@torch.no_grad()
def _predictions(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(chunk).logits.float().softmax(1) for chunk in torch.split(images, CHUNK)])
