"""One training objective per file; importing the folder's modules registers them."""
