"""One generator/critic pair per file."""
