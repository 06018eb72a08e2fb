"""Writes the results of a sweep as figures, text and an HTML page."""

FIGURES, PAGE, SUMMARY = "figures", "report.html", "summary.txt"
"""Names in a sweep's folder."""
