"""Proposals and importances by Optuna."""
