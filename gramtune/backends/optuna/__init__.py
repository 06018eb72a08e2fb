"""Proposes trials and computes importances with Optuna."""
