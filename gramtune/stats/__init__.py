"""Kernels and estimators: pure tensor functions that accept any leading batch dimensions."""
