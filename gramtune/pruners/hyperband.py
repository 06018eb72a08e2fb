"""Hyperband's brackets of successive halving."""

from __future__ import annotations

import zlib
from typing import ClassVar, Literal

from gramtune.pruners._halving import Halving
from gramtune.registry import register


@register
class Hyperband(Halving):
    """Hyperband (Li et al. 2018): successive halving in which a hash of a trial's name selects its first rung."""

    name: Literal["hyperband"] = "hyperband"
    depends_on_length: ClassVar[bool] = True

    def bracket(self, trial: str, brackets: int) -> int:
        """The first rung from a checksum of the trial's name, so that it is the same in every run."""
        return zlib.crc32(trial.encode()) % brackets
