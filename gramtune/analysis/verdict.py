"""Verdicts: is a method insensitive to a key, which of its values may be the best, and how sure is that.

The method, its assumptions and its sources: docs/verdict.md. The losses are logarithms of the metric, so that a
tolerance of 10 % is a difference of log 1.1, and spreads of settings with different means are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, count, takewhile

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtrit
from scipy.stats import hypergeom

Array = NDArray[np.float64]

ALPHA = 0.05
"""Probability with which a verdict may be wrong, over all looks together; the same for the set of best values."""
_FIRST_LOOKS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100)
_LEAST_EXCESS = 1e-3
"""Of the scatter of log variances: below, they count as one pooled variance."""
LEAST_REPLICATES = 3
"""Below, there is no verdict."""
_CAUTION = 3.0
"""Standard errors added to the estimate of how much the spreads differ: docs/verdict.md, `Spreads`."""
LOOK_AHEAD = 400
"""Replicates up to which an estimate of what is missing looks ahead."""
_LEAST_SPREAD = 1e-5
"""No variance is taken to be smaller than this part of the median one: two equal values happen by rounding."""


class Verdict(StrEnum):
    """What a sweep says of one method along one key."""

    INSENSITIVE = "INSENSITIVE"
    """Every value of the key is within the tolerance of the best one."""
    SENSITIVE = "SENSITIVE"
    """Some value is worse than the best one by more than the tolerance."""
    UNDECIDED = "UNDECIDED"
    """The replicates so far allow neither claim."""


@dataclass(frozen=True)
class Finding:
    """A verdict and what it rests on; indices are positions in the list of values."""

    verdict: Verdict
    look: int
    """Replicates at the look that the verdict rests on; 0 where there was no look."""
    may_be_best: tuple[int, ...]
    """All others are worse than one of these: together wrong with probability at most `ALPHA`."""
    low: Array
    """[V] lower bounds of log(loss / least loss), simultaneous for all values; at least 0."""
    high: Array
    """[V] upper bounds of log(loss / least loss), each by itself the one that INSENSITIVE asks for; ∞ if diverged."""
    open: tuple[int, ...]
    """Values that keep the verdict from INSENSITIVE and do not prove SENSITIVE; empty once decided."""
    more: int | None
    """Estimate of the replicates per open value at which the verdict would be reached; None if it is, or unknown."""


def looks(upto: int) -> list[int]:
    """The declared looks with at most so many replicates: 3, 4, 5, 6, 8, 10, … 100, and every 25 from there on."""
    return list(takewhile(lambda n: n <= upto, chain(_FIRST_LOOKS, count(125, 25))))


def level(look: int) -> float:
    """Share of `ALPHA` that look number s = 1, 2, … spends: 2α / ((s + 1)·(s + 2)), which sums to α over all looks."""
    s = len(looks(look))
    return 2 * ALPHA / ((s + 1) * (s + 2))


def decide(values: Sequence[Sequence[float]], tolerance: float) -> Finding | None:
    """The verdict on the values of one key at a tolerance (0.1 for 10 %).

    `values` has one sequence of losses per value of the key, in the order of the seeds: log(metric), −log(metric) of a
    metric that is maximised, ∞ for a replicate that diverged. None with fewer than two values, or where a value has
    fewer than three replicates.

    Looks only at the declared numbers of replicates, and the first look that decides stands: what comes later does not
    change the verdict. `low`, `high` and `may_be_best` are of the newest look.
    """
    if len(values) < 2 or min(map(len, values)) < LEAST_REPLICATES:
        return None
    decided: Finding | None = None
    for look in looks(max(map(len, values))):
        newest = at_look([value[:look] for value in values], tolerance, look)
        if decided is None and newest.verdict != Verdict.UNDECIDED:
            decided = newest
    if decided is None:
        return newest
    return replace(newest, verdict=decided.verdict, look=decided.look, open=(), more=None)


@dataclass(frozen=True)
class _Sample:
    """What a look knows of its V values: means, variances of one replicate, their degrees of freedom, and counts."""

    means: Array
    variances: Array
    degrees: Array
    counts: Array
    diverged: NDArray[np.int_]


def at_look(values: Sequence[Sequence[float]], tolerance: float, look: int) -> Finding:
    """What one declared look says by itself, on at most `look` replicates of each value; as `decide`."""
    limit = math.log1p(tolerance)
    sample = _sample([np.array(value, float) for value in values])
    verdict, low, high = _judged(sample, limit, level(look))
    best = int(np.argmin(np.where(sample.diverged > 0, np.inf, sample.means)))
    may_be_best = tuple(np.flatnonzero(low <= 0).tolist())
    if verdict != Verdict.UNDECIDED:
        return Finding(verdict, look, may_be_best, low, high, (), None)
    open_values = tuple(sorted({best, *np.flatnonzero(high > limit).tolist()}))
    return Finding(verdict, look, may_be_best, low, high, open_values, _more(sample, limit, look))


def _sample(values: Sequence[Array]) -> _Sample:
    """Diverged replicates enter with the largest finite loss of all: at least as bad as that."""
    diverged = np.array([np.isinf(value).sum() for value in values])
    finite = np.concatenate([value[np.isfinite(value)] for value in values])
    worst = finite.max() if len(finite) else 0.0
    clipped = [np.minimum(value, worst) for value in values]
    counts = np.array([float(len(value)) for value in values])
    spreads = np.array([value.var(ddof=1) for value in clipped])
    variances, degrees = moderated(spreads, counts - 1, diverged == 0)
    return _Sample(np.array([value.mean() for value in clipped]), variances, degrees, counts, diverged)


def _judged(sample: _Sample, limit: float, alpha: float) -> tuple[Verdict, Array, Array]:
    """The verdict at one look that may be wrong with probability `alpha`; low and high [V] as in `Finding`."""
    size = len(sample.means)
    difference = sample.means[:, None] - sample.means[None, :]
    error, degrees = _welch(sample)
    below = difference - stdtrit(degrees, 1 - alpha / size**2) * error
    above = difference + stdtrit(degrees, 1 - alpha) * error
    lost = sample.diverged > 0
    np.fill_diagonal(below, 0.0)
    np.fill_diagonal(above, 0.0)
    low: Array = below.max(axis=1)
    high: Array = np.where(lost, np.inf, above[:, ~lost].max(axis=1, initial=0.0))
    low = np.where(_diverges_more(sample, alpha / size**2), np.inf, low)
    if low.max() > limit:
        return Verdict.SENSITIVE, low, high
    return (Verdict.INSENSITIVE if high.max() <= limit else Verdict.UNDECIDED), low, high


def _welch(sample: _Sample) -> tuple[Array, Array]:
    """[V, V] standard errors of the differences of means, and their degrees of freedom (Welch–Satterthwaite)."""
    each = sample.variances / sample.counts
    total = each[:, None] + each[None, :]
    parts = each**2 / sample.degrees
    total = np.maximum(total, np.finfo(float).tiny)
    return np.sqrt(total), total**2 / np.maximum(parts[:, None] + parts[None, :], np.finfo(float).tiny)


def _diverges_more(sample: _Sample, alpha: float) -> NDArray[np.bool_]:
    """[V] whether a value diverges more often than all others together: Fisher's exact test, one-sided."""
    total, lost = int(sample.counts.sum()), int(sample.diverged.sum())
    chance = hypergeom.sf(sample.diverged - 1, total, lost, sample.counts.astype(int))
    return np.asarray((sample.diverged > 0) & (chance <= alpha))


def _more(sample: _Sample, limit: float, look: int) -> int | None:
    """Replicates until a verdict if means and spreads stay as they are; None if 400 do not suffice."""
    if sample.diverged.any():
        return None
    for later in looks(LOOK_AHEAD):
        if later > look:
            counts = np.full_like(sample.counts, later)
            degrees = sample.degrees * (later - 1) / (sample.counts - 1)
            if _judged(replace(sample, counts=counts, degrees=degrees), limit, level(later))[0] != Verdict.UNDECIDED:
                return later - look
    return None


def moderated(spreads: Array, degrees: Array, usable: NDArray[np.bool_]) -> tuple[Array, Array]:
    """[V] variances that borrow strength from each other, and their degrees of freedom.

    Smyth (2004), sections 6 and 3: sample variances s² with ν degrees of freedom scatter around values of their own
    that follow a scaled inverse χ² with (ν₀, s₀²), estimated from the moments of log s². The moderated variance is
    (ν₀s₀² + νs²)/(ν₀ + ν) with ν₀ + ν degrees, at most those of all values together. Two cautions make it hold with few
    values and unequal spreads: the scatter is taken `_CAUTION` of its standard errors larger than estimated, and no
    variance is smaller than the value's own.
    """
    known = np.maximum(spreads, _LEAST_SPREAD * np.median(spreads[usable]) if usable.any() else 0.0)
    sound = usable & (known > 0)
    if sound.sum() < 2:
        return known, degrees
    half = degrees[sound] / 2
    logs = np.log(known[sound]) - digamma(half) + np.log(half)
    chance = float(polygamma(1, half).mean())
    excess = logs.var(ddof=1) - chance + _CAUTION * chance * math.sqrt(2 / (len(logs) - 1))
    total = degrees[sound].sum()
    prior = 2 * _inverse_trigamma(max(float(excess), _LEAST_EXCESS))
    middle = math.exp(logs.mean() + digamma(prior / 2) - math.log(prior / 2))
    mixed = (prior * middle + degrees * known) / (prior + degrees)
    return np.where(usable, np.maximum(mixed, known), known), np.where(
        usable, np.minimum(prior + degrees, total), degrees
    )


def _inverse_trigamma(value: float) -> float:
    """x > 0 with ψ′(x) = value."""
    return float(brentq(lambda x: float(polygamma(1, x)) - value, 1e-8, 1e12))
