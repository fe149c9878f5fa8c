"""One student or teacher from start to end. Never imports ray, mlflow or optuna."""
