"""Data sets in memory: sources, splits, batches."""
