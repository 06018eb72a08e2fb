"""How much each varied key matters to the metric, as an evaluator elsewhere computed it: plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gramtune.sweep.state import Summary


class Importances(NamedTuple):
    """Shares of the metric's variance that the varied keys explain, or why they are not known."""

    shares: Mapping[str, Summary] = {}
    """By key, the largest first: mean and standard deviation over `seeds` runs of the evaluator."""
    evaluator: str = ""
    trials: int = 0
    """Completed trials that it saw; others have no final value."""
    seeds: int = 0
    left_out: tuple[str, ...] = ()
    """Keys that not every completed trial has."""
    why: str = ""
    """Why there are none; empty where there are."""
