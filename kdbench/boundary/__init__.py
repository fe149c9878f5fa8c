"""Samples near the decision boundary."""

from kdbench.boundary.search import BoundarySamples, StepRule, boundary_supporting_samples

__all__ = ["BoundarySamples", "StepRule", "boundary_supporting_samples"]
