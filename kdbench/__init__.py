"""kdbench: hyperparameter search and benchmarking for knowledge distillation."""

__version__ = "0.1.0"
