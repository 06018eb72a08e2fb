"""Asynchronous successive halving."""

from __future__ import annotations

from typing import Literal

from gramtune.pruners._halving import Halving
from gramtune.registry import register


@register
class Asha(Halving):
    """Asynchronous successive halving (Li et al. 2020): rungs after min_steps·ηᵏ steps; the best 1/η continue."""

    name: Literal["asha"] = "asha"
