"""The only room that imports ray, optuna or mlflow."""
