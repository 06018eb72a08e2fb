"""Results as plain text and LaTeX."""
