"""What a sweep is, without Ray, Optuna or MLflow."""
