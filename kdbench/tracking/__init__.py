"""MLflow as a view of the run records."""
