"""One family of metrics per file."""
