"""Reads and checks what the user wrote: domains, the sweep, its plan."""
