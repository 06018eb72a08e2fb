"""Selects the trials and evaluations that the figures of samples show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gramtune.analysis.labels import identity
from gramtune.analysis.paired_difference import ranked
from gramtune.analysis.series import numeric
from gramtune.record.state import SweepState, TrialRecord

_METHODS = 6
"""Maximum number of values of the first varied key for which a trial is shown."""


def one_per_method(state: SweepState, has_samples: Callable[[TrialRecord], bool]) -> dict[str, TrialRecord]:
    """The trials to show, by name: the best per value of the first varied key, if its values are not numbers.

    For a numeric key, only the best of all trials. If none of a value's trials has completed, the one with most steps.
    The overall best comes first.
    """
    key = next(iter(state.plan.sweep.space))
    by_value = not numeric(state.values_of_key(key))
    ordered = [*ranked(state), *sorted(state.records.values(), key=lambda r: -(r.last.step if r.last else -1))]
    shown: dict[str, TrialRecord] = {}
    for record in filter(has_samples, ordered):
        value = record.trial.assignment.get(key, "–")
        name = (value if isinstance(value, str) else identity(value)) if by_value else ""
        if len(shown) < _METHODS:
            shown.setdefault(name, record)
    return shown


def evenly_spaced(steps: Sequence[int], n: int, *, log: bool) -> list[int]:
    """At most n of these ascending steps, including the first and the last, at equal distances or equal ratios."""
    if len(steps) <= n:
        return list(steps)
    low, high = (math.log(steps[0]), math.log(steps[-1])) if log else (float(steps[0]), float(steps[-1]))
    targets = (low + (high - low) * k / (n - 1) for k in range(n))
    nearest = (min(steps, key=lambda step: abs((math.log(step) if log else step) - target)) for target in targets)
    return list(dict.fromkeys(nearest))
