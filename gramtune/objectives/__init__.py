"""Training objectives, one per file; importing a module registers its objective."""
