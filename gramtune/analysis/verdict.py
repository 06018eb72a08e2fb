"""Computes verdicts: whether a method is insensitive to a key, and which values may be the best, with bounded error.

docs/verdict.md describes the method, its assumptions and its sources. Losses are logarithms of the metric, so that a
tolerance of 10 % is a difference of log 1.1, and spreads do not depend on the mean.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, count, takewhile

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtrit
from scipy.stats import hypergeom

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALPHA = 0.05
"""Bound of the probability that a verdict is wrong, over all looks; the same for the set of best values."""
_FIRST_LOOKS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100)
_LEAST_EXCESS = 1e-3
"""If the excess scatter of log variances is below this, the variances are pooled."""
LEAST_REPLICATES = 3
"""With fewer replicates there is no verdict."""
_CAUTION = 3.0
"""Standard errors added to the estimate of how much the spreads differ: docs/verdict.md, `Spreads`."""
LOOK_AHEAD = 400
"""Most replicates considered when estimating how many are missing."""
_LEAST_SPREAD = 1e-5
"""Variances are at least this fraction of the median variance, because rounding can make two values equal."""


class Verdict(StrEnum):
    """The verdict on one method along one key."""

    INSENSITIVE = "INSENSITIVE"
    """Every value of the key is within the tolerance of the best one."""
    SENSITIVE = "SENSITIVE"
    """Some value is worse than the best one by more than the tolerance."""
    UNDECIDED = "UNDECIDED"
    """Neither claim is proved by the replicates so far."""


@dataclass(frozen=True)
class Finding:
    """A verdict with its bounds; indices are positions in the list of V values."""

    verdict: Verdict
    look: int
    """Number of replicates at the look that gave the verdict."""
    may_be_best: tuple[int, ...]
    """Values that may be the best; all others are worse than one of these, with error probability at most `ALPHA`."""
    low: Array
    """[V] lower bounds of log(loss / least loss), simultaneous for all values; at least 0; ∞ if it diverges more."""
    high: Array
    """[V] upper bounds of log(loss / least loss), each valid separately, as INSENSITIVE requires; ∞ if diverged."""
    pairs: Array
    """[V, V] lower bounds of log(loss i / loss j), simultaneous for all pairs; −∞ where nothing is known."""
    open: tuple[int, ...]
    """Open values: more replicates of these are needed for a verdict; empty once decided."""
    more: int | None
    """Estimated number of missing replicates per open value; None if decided or unknown."""

    def separated(self, i: int, j: int) -> bool:
        """Whether values i and j differ; over all pairs and looks, the probability of any error is at most `ALPHA`."""
        return bool(self.pairs[i, j] > 0 or self.pairs[j, i] > 0)


def looks(upto: int) -> list[int]:
    """The declared looks up to this number of replicates: 3, 4, 5, 6, 8, 10, … 100, then every 25."""
    return list(takewhile(lambda n: n <= upto, chain(_FIRST_LOOKS, count(125, 25))))


def level(look: int) -> float:
    """Share of `ALPHA` that look number s = 1, 2, … spends: 2α / ((s + 1)·(s + 2)), which sums to α over all looks."""
    s = len(looks(look))
    return 2 * ALPHA / ((s + 1) * (s + 2))


def decide(values: Sequence[Sequence[float]], tolerance: float, share: float = 1.0) -> Finding | None:
    """The verdict on the values of one key at a tolerance (0.1 for 10 %).

    `values` has one sequence of losses per value of the key, in the order of seeds: log(metric), or −log(metric) for a
    maximised metric; ∞ for a diverged replicate. Sequences may differ in length, and are empty for values without a
    result. None if fewer than two values have three replicates. `share`: the part of `ALPHA` to spend, if several
    findings share it.
    """
    newest = deque(findings(values, tolerance, share), maxlen=1)
    return newest[0] if newest else None


def findings(values: Sequence[Sequence[float]], tolerance: float, share: float = 1.0) -> Iterator[Finding]:
    """The finding after each declared look, the newest last; see `decide`.

    A pair of values is compared at the declared numbers of replicates that both have. Its bounds hold at all looks
    together, so the tightest bounds so far are used, and the allotment of replicates to values does not matter. The
    first decision is final, unless it is INSENSITIVE and a replicate diverges later.
    """
    losses = [np.array(value, float) for value in values]
    counts = np.array([len(loss) for loss in losses])
    if (counts >= LEAST_REPLICATES).sum() < 2:
        return
    limit, size = math.log1p(tolerance), len(losses)
    lost = np.array([bool(np.isinf(loss).any()) for loss in losses])
    below, above = np.full((size, size), -np.inf), np.full((size, size), np.inf)
    more_diverged = np.zeros(size, bool)
    decided: Finding | None = None
    declared = looks(int(np.sort(counts)[-2]))
    for look in declared:
        known = np.flatnonzero(counts >= LEAST_REPLICATES)
        sample = _sample([losses[i][:look] for i in known])
        here = known[counts[known] >= look]
        at, block = np.flatnonzero(counts[known] >= look), np.ix_(here, here)
        low, high = _bounds(sample, share * level(look), size)
        below[block] = np.maximum(below[block], low[np.ix_(at, at)])
        above[block] = np.minimum(above[block], high[np.ix_(at, at)])
        more_diverged[here] |= _diverges_more(sample.only(at), share * level(look) / size**2)
        newest = _finding(below, above, lost, more_diverged, limit, look)
        if newest.verdict == Verdict.UNDECIDED:
            best = _best(known, sample, lost[known])
            newest = replace(newest, open=_open(above, lost, best, known, limit))
            if look == declared[-1]:  # only here: an estimate takes longer than all bounds
                newest = replace(newest, more=_more(sample, lost[known], limit, look, size))
        if decided is None and newest.verdict != Verdict.UNDECIDED:
            decided = newest
        yield newest if decided is None else replace(newest, verdict=decided.verdict, look=decided.look, open=())


def _finding(below: Array, above: Array, lost: Mask, more_diverged: Mask, limit: float, look: int) -> Finding:
    """The finding for bounds [V, V] on pairs. A diverged value is worse than any finite loss and cannot be the best."""
    pairs, least = np.where(lost, -np.inf, below), np.where(lost, 0.0, above)  # of columns
    np.fill_diagonal(pairs, 0.0)
    np.fill_diagonal(least, 0.0)
    low = np.where(more_diverged, np.inf, pairs.max(axis=1))
    high = np.where(lost, np.inf, least.max(axis=1))
    may_be_best = tuple(np.flatnonzero(low <= max(0.0, low.min())).tolist())
    verdict = Verdict.INSENSITIVE if high.max() <= limit else Verdict.UNDECIDED
    if low.max() > limit:
        verdict = Verdict.SENSITIVE
    return Finding(verdict, look, may_be_best, low, high, pairs, (), None)


def _best(known: NDArray[np.int_], sample: _Sample, lost: Mask) -> int:
    """The value with the lowest mean; values that never diverged come first."""
    return int(known[np.argmin(np.where(lost & ~lost.all(), np.inf, sample.means))])


def _open(above: Array, lost: Mask, best: int, known: NDArray[np.int_], limit: float) -> tuple[int, ...]:
    """The best value and all values not proved to be within the limit of it; if all are, the values of open pairs."""
    doubtful = above > limit
    doubtful[lost] = True
    np.fill_diagonal(doubtful, lost)
    against_best = {int(i) for i in known if i != best and doubtful[i, best]}
    if against_best:
        return tuple(sorted(against_best | {best}))
    block = doubtful[np.ix_(known, known)]
    np.fill_diagonal(block, False)
    return tuple(known[block.any(axis=0) | block.any(axis=1)].tolist())


@dataclass(frozen=True)
class _Sample:
    """Statistics of the V values at a look: means, variances of one replicate, degrees of freedom, and counts."""

    means: Array
    variances: Array
    degrees: Array
    counts: Array
    diverged: NDArray[np.int_]

    def only(self, at: NDArray[np.int_]) -> _Sample:
        """The statistics of only these values."""
        return _Sample(self.means[at], self.variances[at], self.degrees[at], self.counts[at], self.diverged[at])


def _sample(values: Sequence[Array]) -> _Sample:
    """The statistics of all values. A diverged replicate counts with the largest finite loss of all, a lower bound."""
    diverged = np.array([np.isinf(value).sum() for value in values])
    finite = np.concatenate([value[np.isfinite(value)] for value in values])
    worst = finite.max() if len(finite) else 0.0
    clipped = [np.minimum(value, worst) for value in values]
    counts = np.array([float(len(value)) for value in values])
    spreads = np.array([value.var(ddof=1) for value in clipped])
    variances, degrees = moderated(spreads, counts - 1, diverged == 0)
    return _Sample(np.array([value.mean() for value in clipped]), variances, degrees, counts, diverged)


def _bounds(sample: _Sample, alpha: float, size: int) -> tuple[Array, Array]:
    """[V, V] bounds of μᵢ − μⱼ at one look: lower ones for all pairs of `size` values together, upper ones for each."""
    difference = sample.means[:, None] - sample.means[None, :]
    error, degrees = _welch(sample)
    return (
        difference - stdtrit(degrees, 1 - alpha / size**2) * error,
        difference + stdtrit(degrees, 1 - alpha) * error,
    )


def _welch(sample: _Sample) -> tuple[Array, Array]:
    """[V, V] standard errors of the differences of means, and their degrees of freedom (Welch–Satterthwaite)."""
    each = sample.variances / sample.counts
    total = each[:, None] + each[None, :]
    parts = each**2 / sample.degrees
    total = np.maximum(total, np.finfo(float).tiny)
    return np.sqrt(total), total**2 / np.maximum(parts[:, None] + parts[None, :], np.finfo(float).tiny)


def _diverges_more(sample: _Sample, alpha: float) -> Mask:
    """[V] whether a value diverges more often than all others together (one-sided Fisher's exact test)."""
    total, lost = int(sample.counts.sum()), int(sample.diverged.sum())
    chance = hypergeom.sf(sample.diverged - 1, total, lost, sample.counts.astype(int))
    return np.asarray((sample.diverged > 0) & (chance <= alpha))


def _more(sample: _Sample, lost: Mask, limit: float, look: int, size: int) -> int | None:
    """Number of replicates until a verdict if means and spreads stay the same; None if 400 are not enough."""
    if lost.any() or len(lost) < size:
        return None
    for later in looks(LOOK_AHEAD):
        if later > look:
            counts = np.full_like(sample.counts, later)
            degrees = sample.degrees * (later - 1) / (sample.counts - 1)
            below, above = _bounds(replace(sample, counts=counts, degrees=degrees), level(later), size)
            if _finding(below, above, lost, lost, limit, later).verdict != Verdict.UNDECIDED:
                return later - look
    return None


def moderated(spreads: Array, degrees: Array, usable: Mask) -> tuple[Array, Array]:
    """[V] moderated variances, each estimated with the help of the others, and their degrees of freedom.

    Smyth (2004), sections 6 and 3: sample variances s² with ν degrees of freedom scatter around true variances that
    follow a scaled inverse χ² with (ν₀, s₀²), estimated from the moments of log s². The moderated variance is
    (ν₀s₀² + νs²)/(ν₀ + ν) with ν₀ + ν degrees, at most those of all values together. Two precautions keep it valid for
    few values and unequal spreads: the scatter is increased by `_CAUTION` of its standard errors, and no variance is
    smaller than the value's own.
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
