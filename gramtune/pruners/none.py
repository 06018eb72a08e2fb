"""No early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import field_validator

from gramtune.components import Course, Pruner, Rung
from gramtune.registry import register


@register
class NoPruner(Pruner):
    """No trial is stopped early."""

    name: Literal["none"] = "none"

    @field_validator("false_prune_rate")
    @classmethod
    def _has_no_effect(cls, rate: float | None) -> float | None:
        if rate is not None:
            raise ValueError("pruner none stops no trial; use false_prune_rate with asha, hyperband, median, …")
        return rate

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """No steps: it never decides."""
        return ()

    def stops(self, rung: Rung) -> str:
        """Never."""
        return ""
