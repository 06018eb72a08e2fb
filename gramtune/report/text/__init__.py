"""Writes results as plain text and LaTeX."""
