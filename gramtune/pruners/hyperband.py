"""Hyperband's brackets of successive halving."""

from __future__ import annotations

import zlib
from typing import ClassVar, Literal

from gramtune.pruners._halving import Halving
from gramtune.registry import register


@register
class Hyperband(Halving):
    """Hyperband (Li et al. 2018): asha, where a trial's first rung is one of several, by a fixed draw on its name."""

    name: Literal["hyperband"] = "hyperband"
    depends_on_length: ClassVar[bool] = True

    def bracket(self, trial: str, brackets: int) -> int:
        """A checksum of the trial's name: the same in every run."""
        return zlib.crc32(trial.encode()) % brackets
