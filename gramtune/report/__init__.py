"""From finished results to figures and tables."""
