"""Runs a sweep: driver, trial runner, capacity, run directory."""
