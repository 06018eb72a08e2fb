"""Shared fields of the pruners."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

MinSteps = PositiveInt | None
"""Training steps before the first decision; None: the first evaluation."""
MinTrials = Annotated[int, Field(ge=2)] | None
"""Number of trials, including this one, that must have reached a rung before a decision."""
