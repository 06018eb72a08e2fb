"""The sensitivity score: the share of an axis's range that is within x % of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gramtune.components import Direction
from gramtune.record.student_t import t_quantile

Array = NDArray[np.float64]

_Z = 1.959964
"""97.5 % quantile of the normal distribution."""
_CAUTION = 1.1
"""Widening factor of intervals, found by simulation (benchmarks/score_coverage.py); coverage: docs/report.md."""


@dataclass(frozen=True)
class Curve:
    """The metric along one axis for one method."""

    places: Array | None
    """[P], increasing, on the scale of the axis (logarithms on a logarithmic one); None for categories."""
    values: Array
    """[P, R]: one column per seed, R ≥ 1. A row of NaN is a value of the axis without a result."""


@dataclass(frozen=True)
class Estimate:
    """A number and its approximate 95 % interval, which is None for fewer than two seeds."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Score:
    """The result of `sensitivity`."""

    best: Estimate
    """The metric at the best value, estimated on seeds that did not select it."""
    shares: tuple[Estimate, ...]
    """Share of the range, one per tolerance."""


def sensitivity(
    curve: Curve,
    rivals: Sequence[Curve],
    direction: Direction,
    tolerances: Sequence[float],
    draws: int,
    rng: np.random.Generator,
) -> Score | None:
    """Shares of the range of `curve` within each tolerance (0.1 for 10 %) of the best of `rivals`.

    With rivals = [curve] this is the method's own best. b is the metric at the best value, estimated by `_best`. A
    point is inside if the mean over seeds, interpolated linearly, is no worse than b ± tolerance·b (+ for a minimised
    metric). A place without a result counts as infinitely bad, so the segments next to it are outside. For categories,
    the share of categories. Intervals are percentiles over `draws` bootstrap draws of seeds, the same seeds for every
    place and method, widened for few seeds: see `_widened`.
    None if b is not positive in every draw, because a percentage of it then has no meaning, or if nothing completed.
    """
    sign = 1.0 if direction == "min" else -1.0
    pooled = np.concatenate([_completed(rival.values) for rival in rivals])
    if not len(pooled):
        return None
    seeds = pooled.shape[1]
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws if seeds > 1 else 0)
    weights = np.concatenate([np.ones((1, seeds)), drawn])  # the first row is the sample itself
    best = _widened(_best(sign * pooled, weights), seeds)
    if (sign * best).min() <= 0:
        return None
    means = np.full((len(curve.values), len(weights)), np.inf)
    means[_whole(curve.values)] = _widened(sign * _completed(curve.values) @ weights.T / seeds, seeds)
    shares = [_inside(curve.places, means, best + tolerance * abs(best)) for tolerance in tolerances]
    return Score(_estimate(sign * best), tuple(map(_estimate, shares)))


def _whole(values: Array) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = np.isfinite(values.sum(axis=1))
    return whole


def _completed(values: Array) -> Array:
    return values[_whole(values)]


def _widened(drawn: Array, seeds: int) -> Array:
    """[…, 1 + draws]: moves draws away from the sample (the first entry) so that intervals match Student's t.

    Means of draws with replacement have a spread that is too small by √((n − 1)/n), and normal percentiles. `_CAUTION`
    allows for the choice of the best value. For numbers of one sign the logarithms are moved, so that no sign changes.
    """
    if seeds < 2:
        return drawn
    factor = _CAUTION * t_quantile(seeds - 1) / _Z * math.sqrt(seeds / (seeds - 1))
    sample = drawn[..., :1]
    if (drawn > 0).all() or (drawn < 0).all():
        moved: Array = sample * (drawn / sample) ** factor
        return moved
    return sample + factor * (drawn - sample)


def _best(losses: Array, weights: Array) -> Array:
    """[D]: loss of the best row on seeds that did not select it, for losses [P, R] and draws [D, R] (counts of seeds).

    For each seed, the other seeds select the row by their mean, and the seed gives the loss of that row. The smallest
    of P noisy means would be biased downwards, more so for larger P. A single seed has to select by itself.
    """
    totals = losses @ weights.T
    cost = np.zeros(len(weights))
    for seed, count in enumerate(weights.T):
        others = totals - np.outer(losses[:, seed], count)
        alone = count == weights.sum(axis=1)
        choice = np.where(alone, totals, others).argmin(axis=0)
        cost += count * losses[choice, seed]
    best: Array = cost / weights.sum(axis=1)
    return best


def _inside(places: Array | None, losses: Array, limits: Array) -> Array:
    """[D]: share of the range in which the losses [P, D], linear between places, are at most the limits [D]."""
    share: Array
    if places is None:
        share = (losses <= limits).mean(axis=0)
        return share
    low, high = np.minimum(losses[:-1], losses[1:]), np.maximum(losses[:-1], losses[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        crossing = (limits - low) / (high - low)
    part = np.where(high <= limits, 1.0, np.where(low > limits, 0.0, crossing))
    share = np.diff(places) @ part / (places[-1] - places[0])
    return share


def _estimate(sample: Array) -> Estimate:
    value, drawn = float(sample[0]), sample[1:]
    if not len(drawn):
        return Estimate(value, None)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, (float(low), float(high)))
