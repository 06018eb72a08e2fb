"""The section `budget` of a space file."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from gramtune.components import Component


class Budget(Component):
    """The budget of a sweep. Checked at each report; once it is spent, unfinished trials are STOPPED."""

    seconds: PositiveFloat | None = None
    """Wall-clock time of all runs of the command together: resuming does not reset it."""
    steps: PositiveInt | None = None
    """Training steps of all trials and replicates together."""
