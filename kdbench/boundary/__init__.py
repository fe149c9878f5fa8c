"""Samples near the decision boundary."""
