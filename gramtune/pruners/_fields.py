"""What pruners have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

MinSteps = PositiveInt | None
"""Training steps before the first decision; None: the first evaluation."""
MinTrials = Annotated[int, Field(ge=2)] | None
"""Trials, the judged one included, that must have come as far before one is judged."""
