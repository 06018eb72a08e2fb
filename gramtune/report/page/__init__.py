"""Writes the report as one HTML page."""
