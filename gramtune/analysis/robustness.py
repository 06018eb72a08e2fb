"""Computes the sensitivity scores of a sweep: one per method and varied key, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gramtune.analysis.labels import count
from gramtune.analysis.paired_difference import by_seed
from gramtune.analysis.sensitivity_score import Curve, Estimate, Score, sensitivity
from gramtune.analysis.series import Axis, Series, axis_of
from gramtune.record.report import Status
from gramtune.record.state import SweepState

TOLERANCES = (0.10, 0.25)
DRAWS = 2000
"""Number of bootstrap draws per interval."""


@dataclass(frozen=True)
class Robustness:
    """One method along one key."""

    key: str
    method: str
    """The name of the method; empty if it is the only one."""
    range: str
    values: int
    """The tried values of the key, in words."""
    seeds: int
    """Number of seeds that all completed trials of the axis have in common."""
    lost: str
    """Values without a result, with the status of their trials; empty if there are none."""
    score: Score | None
    """Shares of the range within `TOLERANCES` of the method's own best."""
    of_all: tuple[Estimate, ...]
    """Shares of the range within `TOLERANCES` of the best of all methods along this key; empty for a single method."""
    why: str
    """Why there is no score; empty if there is one."""


def robustness(state: SweepState) -> list[Robustness]:
    """One row per varied key and method; keys whose values are names of methods are left out."""
    keys = [key for key, domain in state.plan.sweep.space.items() if not domain.cases]
    return [row for key in keys for row in _rows(state, key)]


def _rows(state: SweepState, key: str) -> list[Robustness]:
    axis = axis_of(state, key)
    if why := no_axis(state):
        return [Robustness(key, "", state.plan.sweep.space[key].describe(), len(axis.places), 0, "", None, (), why)]
    whys = [_why_not(series) for series in axis.series]
    usable = [series for series, why in zip(axis.series, whys, strict=True) if not why]
    seeds = _common_seeds(usable, state.plan.metric)
    curves = [_curve(axis, series, state.plan.metric, seeds) for series in usable] if seeds else []
    scored = iter(curves)
    rows = []
    for series, why in zip(axis.series, whys, strict=True):
        row = Robustness(key, series.label, _range(axis, series), len(series.records), 0, _lost(series), None, (), why)
        if not why:
            row = _scored(replace(row, seeds=len(seeds)), next(scored, None), curves, state)
        rows.append(row)
    return rows


def no_axis(state: SweepState) -> str:
    """Why no two trials of the sweep differ in only one key; empty if some do."""
    sweep = state.plan.sweep
    if sweep.is_population:
        return "a population's values change during training"
    if sweep.search.name != "grid" and len(sweep.space) > 1:
        return "other keys are sampled too, so no two trials differ only in this key"
    return ""


def _why_not(series: Series) -> str:
    """Why the records of a series do not form a curve; empty if they do."""
    records = [record for _, record in series.records]
    if unfinished := sum(not r.status.final or r.status == Status.STOPPED for r in records):
        return f"{unfinished} of {count(len(records), 'trial')} not finished"
    if len(records) < 2:
        return "a single value has no range"
    if all(record.status != Status.COMPLETED for record in records):
        return "no trial has completed"
    return ""


def _scored(row: Robustness, curve: Curve | None, curves: Sequence[Curve], state: SweepState) -> Robustness:
    metric = state.plan.metric
    if curve is None:
        return replace(row, why="no seed is common to all completed trials")
    direction = state.plan.config.directions[metric]
    score = sensitivity(curve, [curve], direction, TOLERANCES, DRAWS, np.random.default_rng(0))
    if score is None:
        return replace(row, why=f"a percentage of {metric} needs a best value that is clearly above zero")
    whole = sensitivity(curve, curves, direction, TOLERANCES, DRAWS, np.random.default_rng(0))
    return replace(row, score=score, of_all=whole.shares if whole and len(curves) > 1 else ())


def _common_seeds(usable: Sequence[Series], metric: str) -> list[int]:
    sets = [
        set(by_seed(record, metric))
        for series in usable
        for _, record in series.records
        if record.status == Status.COMPLETED
    ]
    return sorted(set.intersection(*sets)) if sets else []


def _curve(axis: Axis, series: Series, metric: str, seeds: Sequence[int]) -> Curve:
    places = np.array([place.x for place, _ in series.records])
    values = np.full((len(places), len(seeds)), np.nan)
    for row, (_, record) in enumerate(series.records):
        if record.status == Status.COMPLETED:
            found = by_seed(record, metric)
            values[row] = [found[seed] for seed in seeds]
    if not axis.numeric:
        return Curve(None, values)
    return Curve(np.log(places) if axis.log else places, values)


def _range(axis: Axis, series: Series) -> str:
    """The range in words: `1 to 512, 10 values, logarithmic`."""
    texts = [place.text for place, _ in series.records]
    if not axis.numeric:
        return ", ".join(texts)
    scale = ", logarithmic" if axis.log else ""
    return f"{texts[0]} to {texts[-1]}, {count(len(texts), 'value')}{scale}"


def _lost(series: Series) -> str:
    """The values without a result: `8, 16 DIVERGED; 32 PRUNED`."""
    parts = []
    for status in Status:
        places = [p.text for p, r in series.records if r.status == status and status.final]
        if places and status != Status.COMPLETED:
            parts.append(f"{', '.join(places)} {status}")
    return "; ".join(parts)
