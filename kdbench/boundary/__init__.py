"""Samples near the decision boundary."""

from kdbench.boundary.search import BoundarySamples, StepRule, boundary_supporting_samples
from kdbench.boundary.selection import draw_targets, select_base_samples
from kdbench.boundary.similarity import (
    BoundarySimilarity,
    angle_similarity,
    boundary_similarity,
    magnitude_similarity,
)

__all__ = [
    "BoundarySamples",
    "BoundarySimilarity",
    "StepRule",
    "angle_similarity",
    "boundary_similarity",
    "boundary_supporting_samples",
    "draw_targets",
    "magnitude_similarity",
    "select_base_samples",
]
