"""From finished results to figures and tables."""

FIGURES, PAGE, SUMMARY = "figures", "report.html", "summary.txt"
"""In a sweep's folder."""
