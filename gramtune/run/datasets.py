"""Finds the data sets of a sweep that are known before it starts."""

from __future__ import annotations

from gramtune.components import Dataset
from gramtune.record.state import SweepState
from gramtune.space.plan import sampled
from gramtune.space.validate_space import CORNERS

MOST = 16
"""Most data sets that are loaded before the start; more might not fit in memory."""


def datasets(state: SweepState) -> list[Dataset]:
    """The distinct data sets of the trials that must still run; empty if there are too many to load at once.

    For a sampled space they are known only if every varied field of the data has finitely many values.
    """
    sweep = state.plan.sweep
    configs = [record.trial.config for record in state.unfinished]
    ranges = [key for key, domain in sweep.space.items() if key.startswith("data.") and domain.values is None]
    if sweep.search.name != "grid" and not ranges:
        configs += [trial.config for trial in sampled(sweep, CORNERS)]
    distinct = list(dict.fromkeys(config.data for config in configs))
    return distinct if len(distinct) <= MOST else []
