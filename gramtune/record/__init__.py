"""Records what happened in a sweep: reports, state, journal, tables, files."""
