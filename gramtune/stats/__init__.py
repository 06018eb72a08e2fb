"""Kernels and estimators: pure tensor functions, leading batch dimensions allowed everywhere."""
