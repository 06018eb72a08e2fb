"""Asynchronous successive halving."""

from __future__ import annotations

from typing import Literal

from gramtune.pruners._halving import Halving
from gramtune.registry import register


@register
class Asha(Halving):
    """Asynchronous successive halving (Li et al. 2020): rungs after min_steps·ηᵏ steps; the best 1/η continue."""

    name: Literal["asha"] = "asha"
    promote: bool = False
    """Pause every trial at its rungs instead of stopping the worse ones. A paused trial continues from its checkpoint
    once it is among the best 1/η of the trials that have reached the rung. Promotions come before new trials, the
    highest rung first. When no further trial can come, at least the best of a rung continues."""

    @property
    def pauses(self) -> bool:
        """Whether `promote` is set."""
        return self.promote

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"paused until among the best 1/{self.reduction_factor}" if self.promote else super().rule
