"""One student or teacher from start to end. Never imports ray, mlflow or optuna."""

from kdbench.training.trainer import Trained, train

__all__ = ["Trained", "train"]
