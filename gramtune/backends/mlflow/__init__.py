"""Stores results in MLflow."""
