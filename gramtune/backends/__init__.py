"""The only folder that imports ray, optuna or mlflow."""
