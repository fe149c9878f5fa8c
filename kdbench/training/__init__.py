"""One student or teacher from start to end. Never imports ray, mlflow or optuna."""

from kdbench.training.evaluation import EVALUATION_VERSION, Examinee, evaluate
from kdbench.training.execution import Outcome, evaluate_again, execute
from kdbench.training.job import TRAINING_VERSION
from kdbench.training.saved import load_network, save_network
from kdbench.training.trainer import Trained, train

__all__ = [
    "EVALUATION_VERSION",
    "TRAINING_VERSION",
    "Examinee",
    "Outcome",
    "Trained",
    "evaluate",
    "evaluate_again",
    "execute",
    "load_network",
    "save_network",
    "train",
]
