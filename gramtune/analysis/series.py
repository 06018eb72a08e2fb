"""Groups the trials of a sweep along one varied key: one series per method or combination of the other keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gramtune.analysis.labels import assignment_text, identity, leaves, value_text
from gramtune.record.state import SweepState, TrialRecord
from gramtune.space.domain import Assignment

_FEW = 4
"""Most combinations of other keys that separate series in a joint search; with more, only the method separates them."""


@dataclass(frozen=True)
class Place:
    """A value of the key on the x axis."""

    x: float
    """The value itself; for a category, its position."""
    text: str


@dataclass(frozen=True)
class Series:
    """The trials with equal values of all other listed keys, with their places, from left to right."""

    label: str
    """The name of the series; empty if it is the only one."""
    records: list[tuple[Place, TrialRecord]]
    alone: bool
    """Whether only the key differs within the series, because no other key is sampled from a range."""


@dataclass(frozen=True)
class Axis:
    """One varied key as an axis."""

    by_value: Mapping[str, Place]
    """Places by the `identity` of their value."""
    numeric: bool
    """Whether the values are numbers; otherwise they are categories at equal distances."""
    log: bool
    """Whether the scale is logarithmic: for a log-sampled range, and for listed numbers over more than a decade."""
    series: tuple[Series, ...]
    ends: tuple[float, float]
    """The lowest and the highest place."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The places in the order of the values."""
        return tuple(self.by_value.values())

    def place(self, value: object) -> Place:
        """The place of a value of the key."""
        return self.by_value[identity(value)]


def axis_of(state: SweepState, key: str) -> Axis:
    """The axis of a varied key; trials without the key are left out. Raises KeyError if it does not vary."""
    domain, values = state.plan.sweep.space[key], state.values_of_key(key)
    numbers = numeric(values)
    places = {identity(v): Place(float(v) if numbers else float(i), value_text(v)) for i, v in enumerate(values)}
    log = domain.log if domain.values is None else numbers and spans(values, 1)
    listed = _listed(state, key)
    groups = _grouped(state, key, listed)
    if len(groups) > _FEW and state.plan.sweep.search.name != "grid":  # nearly every sampled trial is its own group
        listed = [other for other in listed if state.plan.sweep.space[other].cases]
        groups = _grouped(state, key, listed)
    series = []
    for records in groups:
        placed = [(places[identity(record.trial.assignment[key])], record) for record in records]
        label = "" if len(groups) == 1 else _label(records[0].trial.assignment, listed)
        alone = all(record.trial.assignment.keys() <= {key, *listed} for record in records)
        series.append(Series(label, sorted(placed, key=lambda pair: pair[0].x), alone))
    xs = [place.x for place in places.values()] or [0.0]
    return Axis(places, numbers, log, tuple(series), (min(xs), max(xs)))


def _listed(state: SweepState, key: str) -> list[str]:
    """The other varied keys that have a list of values."""
    return [other for other, domain in state.plan.sweep.space.items() if other != key and domain.values is not None]


def _grouped(state: SweepState, key: str, listed: Sequence[str]) -> list[list[TrialRecord]]:
    """The trials that have the key, by their values of the listed keys, in the order of these values."""
    order = {other: list(map(identity, state.plan.sweep.space[other].values or ())) for other in listed}

    def group(assignment: Assignment) -> tuple[int, ...]:
        return tuple(order[o].index(identity(assignment[o])) if o in assignment else -1 for o in listed)

    grouped: dict[tuple[int, ...], list[TrialRecord]] = {}
    for record in state.records.values():
        if key in record.trial.assignment:
            grouped.setdefault(group(record.trial.assignment), []).append(record)
    return [grouped[position] for position in sorted(grouped)]


def _label(assignment: Assignment, listed: Sequence[str]) -> str:
    others = {other: assignment[other] for other in listed if other in assignment}
    return assignment_text(others) or "without " + ", ".join(leaves(listed).values())


def numeric(values: Iterable[object]) -> bool:
    """Whether all values are numbers; true and false are not."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def spans(values: Sequence[float], decades: float) -> bool:
    """Whether all values are positive and max/min is more than this many powers of ten."""
    return bool(values) and min(values) > 0 and math.log10(max(values) / min(values)) > decades
