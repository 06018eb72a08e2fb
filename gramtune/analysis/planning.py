"""Predicts verdicts, replicates and time of a planned sweep from the spread of a pilot or of an earlier sweep.

For each verdict it simulates a thousand sweeps and judges them with the code of the verdict. The pilot's means and
spreads are uncertain: each simulated sweep draws them from their distribution given the pilot's replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gramtune.analysis.key_verdicts import finished_values, losses_of
from gramtune.analysis.labels import identity
from gramtune.analysis.pair_bounds import Array, Counts, moderated
from gramtune.analysis.replicates_needed import until_decided
from gramtune.analysis.robustness import no_axis
from gramtune.analysis.series import Axis, Series, axis_of
from gramtune.analysis.verdict import LEAST_REPLICATES, FindingBatch, batch_findings
from gramtune.errors import Issue, SpecError
from gramtune.record.state import SweepState
from gramtune.space.plan import Plan

SIMULATED = 1000
"""Number of simulated sweeps."""


@dataclass(frozen=True)
class Pilot:
    """A pilot or an earlier sweep, and the option that names it."""

    state: SweepState
    where: str


@dataclass(frozen=True)
class Forecast:
    """The forecast of one verdict."""

    key: str
    method: str
    """The name of the method; empty if it is the only one."""
    insensitive: float
    """Probability of INSENSITIVE."""
    sensitive: float
    """Probability of SENSITIVE."""
    flat: bool
    """True if the pilot did not vary the key; the simulation then takes all its values to be equally good."""


@dataclass(frozen=True)
class Outlook:
    """The forecast of a whole sweep."""

    forecasts: tuple[Forecast, ...]
    replicates: float
    """Total number of replicates, mean over the simulated sweeps."""
    most: float
    """Total number of replicates that one sweep in ten exceeds."""
    seconds: float
    """Wall time, mean over the simulated sweeps."""


@dataclass(frozen=True)
class _Known:
    """The pilot's estimates for K values of a key, in the order of the values."""

    places: Array
    """[K]"""
    names: tuple[str, ...]
    """Identities of the values."""
    means: Array
    """[K] mean losses."""
    variances: Array
    """[K] variances of one replicate."""
    degrees: Array
    """[K] degrees of freedom of the variances."""
    counts: Counts
    """[K] numbers of replicates that did not diverge."""
    diverging: Array
    """[K] shares of replicates that diverged."""


def check_pilot(plan: Plan, pilot: Pilot) -> None:
    """Raises SpecError if the sweep can have no verdict, or if the pilot does not show the spread of its metric."""
    if why := _unpredictable(SweepState(plan), pilot.state):
        raise SpecError([Issue(pilot.where, why)])


def outlook(plan: Plan, pilot: SweepState, seconds: float, together: int, seed: int = 0) -> Outlook:
    """The outlook of a planned sweep, given the replicates of a pilot or of an earlier sweep; see `check_pilot`.

    `seconds`: duration of a trial with the smallest number of replicates. `together`: number of trials at once.
    """
    state = SweepState(plan)
    rng, sweep = np.random.default_rng(seed), plan.sweep
    totals, clock = {name: np.zeros(SIMULATED) for name in state.records}, np.zeros(SIMULATED)
    forecasts = []
    for key in [key for key, domain in sweep.space.items() if not domain.cases]:
        axis = axis_of(state, key)
        for series in axis.series:
            known = _known(pilot, key, series.label, axis)
            rounds = _rounds(plan, _losses(axis, key, series, known or _spread_alone(pilot), rng, _most(plan)))
            found, counts = rounds[-1]
            share = float(found.insensitive.mean()), float(found.sensitive.mean())
            forecasts.append(Forecast(key, series.label, *share, known is None))
            for (_, record), given in zip(series.records, counts.T, strict=True):
                totals[record.trial.name] = np.maximum(totals[record.trial.name], given)
            clock = clock + _seconds([n for _, n in rounds], seconds / sweep.min_replicates, together)
    all_of_them = np.sum(list(totals.values()), axis=0)
    first = math.ceil(plan.size / together) * seconds
    return Outlook(
        tuple(forecasts),
        float(all_of_them.mean()),
        float(np.quantile(all_of_them, 0.9)),
        first + float(clock.mean()),
    )


def _unpredictable(state: SweepState, pilot: SweepState) -> str:
    """The reason why no forecast is possible; empty if one is."""
    plan, metric = state.plan, pilot.plan.metric
    if why := no_axis(state):
        return f"no verdict can come: {why}"
    if len(plan.metrics) > 1:
        return "no verdict can come: a verdict is about one metric, but several are optimised"
    if plan.sweep.search.name != "grid":
        return (
            f"{plan.sweep.search.name} draws its values while it runs, so its verdict cannot be predicted; legal: grid"
        )
    if _most(plan) < LEAST_REPLICATES:
        return f"a verdict needs {LEAST_REPLICATES} replicates, and the sweep has {_most(plan)} (--replicates 3)"
    if metric != plan.metric:
        return f"it is judged by {metric}, the planned sweep by {plan.metric}"
    if not _measured(pilot):
        return "it has no value with two finished replicates, so it shows no spread"
    least = min(v for r in pilot.records.values() for v in finished_values(r, metric) if v is not None)
    return f"a percentage of {metric} needs values above zero" if least <= 0 else ""


def _measured(pilot: SweepState) -> list[list[float]]:
    """The finite last values of each trial that has two or more."""
    rows = [[v for v in finished_values(r, pilot.plan.metric) if v is not None] for r in pilot.records.values()]
    return [row for row in rows if len(row) > 1]


def _most(plan: Plan) -> int:
    return plan.sweep.max_replicates or plan.sweep.min_replicates


def _known(pilot: SweepState, key: str, label: str, axis: Axis) -> _Known | None:
    """The pilot's estimates for the key and the method `label`; None if the pilot did not vary the key."""
    if key not in pilot.plan.sweep.space:
        return None
    found = axis_of(pilot, key)
    if found.numeric != axis.numeric:
        return None
    chosen = [each for each in found.series if each.label == label] or (found.series if len(found.series) == 1 else ())
    rows, names = [], list[str]()
    for place, record in chosen[0].records if chosen else ():
        losses = np.array(_losses_of(pilot, finished_values(record, pilot.plan.metric)))
        finite = losses[np.isfinite(losses)]
        if len(losses) > 1:
            x = math.log(place.x) if axis.log and place.x > 0 else place.x
            measured = (finite.mean(), finite.var(ddof=1)) if len(finite) > 1 else (np.nan, np.nan)
            rows.append((x, *measured, len(finite), 1 - len(finite) / len(losses)))
            names.append(identity(record.trial.assignment[key]))
    return _filled(tuple(names), np.array(rows).T) if rows and not np.isnan([row[1] for row in rows]).all() else None


def _filled(names: tuple[str, ...], rows: Array) -> _Known:
    """A value that nearly always diverged gets the worst mean of the others and their median spread."""
    places, means, spreads, counts, diverging = rows
    sound, n = ~np.isnan(means), np.maximum(counts, 2).astype(int)
    variances, degrees = moderated(np.where(sound, spreads, np.nanmedian(spreads)), n - 1.0, sound)
    return _Known(places, names, np.where(sound, means, np.nanmax(means)), variances, degrees, n, diverging)


def _spread_alone(pilot: SweepState) -> _Known:
    """One entry for all values: the pilot's pooled spread, and equal means."""
    rows = [np.array(_losses_of(pilot, row)) for row in _measured(pilot)]
    degrees = sum(len(row) - 1 for row in rows)
    pooled = sum(row.var(ddof=1) * (len(row) - 1) for row in rows) / degrees
    zero, many = np.zeros(1), np.array([10**12])
    return _Known(zero, ("",), zero, np.array([pooled]), np.array([float(degrees)]), many, zero)


def _losses_of(pilot: SweepState, values: Sequence[float | None]) -> list[float]:
    return losses_of(values, pilot.plan.config.directions[pilot.plan.metric])


def _losses(axis: Axis, key: str, series: Series, known: _Known, rng: np.random.Generator, most: int) -> Array:
    """Draws losses [SIMULATED, V, most] of the planned values, with means and spreads drawn given the pilot.

    Spreads are drawn from their posterior under a flat prior, s²ν/χ²(ν), and means around the pilot's, σ/√n. Between
    the pilot's values both are linear in the place (spreads in their logarithms), beyond the outer ones constant.
    """
    shape = (SIMULATED, len(known.means))
    variances = known.variances * known.degrees / rng.chisquare(known.degrees, shape)
    means = known.means + np.sqrt(variances / known.counts) * rng.standard_normal(shape)
    weights = _weights(axis, key, series, known)
    spread = np.exp(np.log(np.maximum(variances, np.finfo(float).tiny)) @ weights.T / 2)
    size = (SIMULATED, len(weights), most)
    losses = (means @ weights.T)[..., None] + spread[..., None] * rng.standard_normal(size)
    return np.where(rng.random(size) < (weights @ known.diverging)[:, None], np.inf, losses)


def _weights(axis: Axis, key: str, series: Series, known: _Known) -> Array:
    """Weights [V, K] of the pilot's values in each planned value; equal weights for a category that it did not try."""
    if axis.numeric:
        x = np.array([math.log(place.x) if axis.log else place.x for place, _ in series.records])
        return np.stack([np.interp(x, known.places, unit) for unit in np.eye(len(known.places))], axis=1)
    names = [identity(record.trial.assignment[key]) for _, record in series.records]
    rows = [[float(name == other) for other in known.names] for name in names]
    return np.array([row if any(row) else [1 / len(row)] * len(row) for row in rows])


def _rounds(plan: Plan, losses: Array) -> list[tuple[FindingBatch, Counts]]:
    """The findings and replicates after each allotment; a single one if all values get the same number."""
    least, most = plan.sweep.min_replicates, _most(plan)
    counts = np.full(losses.shape[:2], least)
    if least == most:
        *_, found = batch_findings(losses, counts, plan.sweep.tolerance)
        return [(found, counts)]
    return list(until_decided(losses, counts, np.full(losses.shape[1], most), most, plan.sweep.tolerance))


def _seconds(rounds: Sequence[Counts], each: float, together: int) -> Array:
    """Wall time [SIMULATED] of the later rounds; each further replicate of a trial takes `each` seconds."""
    total = np.zeros(SIMULATED)
    for before, after in pairwise(rounds):
        given = after - before
        total += np.ceil((given > 0).sum(axis=1) / together) * given.max(axis=1) * each
    return total
