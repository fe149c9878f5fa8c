"""From MLflow runs to the comparison report."""
