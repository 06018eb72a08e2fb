"""Which data sets a sweep needs, as far as that is known beforehand."""

from __future__ import annotations

from gramtune.components import Dataset
from gramtune.record.state import SweepState
from gramtune.space.plan import sampled
from gramtune.space.validate_space import CORNERS

MOST = 16
"""Data sets that are loaded beforehand; a sweep that varies its data further may have more than fit in memory."""


def datasets(state: SweepState) -> list[Dataset]:
    """The data sets of the trials that are still to run, each once; none where there are too many to load at once.

    Of a sampled space they are known where every field of the data that varies has finitely many values.
    """
    sweep = state.plan.sweep
    configs = [record.trial.config for record in state.unfinished]
    ranges = [key for key, domain in sweep.space.items() if key.startswith("data.") and domain.values is None]
    if sweep.search.name != "grid" and not ranges:
        configs += [trial.config for trial in sampled(sweep, CORNERS)]
    distinct = list(dict.fromkeys(config.data for config in configs))
    return distinct if len(distinct) <= MOST else []
