"""Verdicts: is a method insensitive to a key, which of its values may be the best, and how sure is that.

The method, its assumptions and its sources: docs/verdict.md. The losses are logarithms of the metric, so that a
tolerance of 10 % is a difference of log 1.1, and spreads of settings with different means are alike.
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
    """A verdict and what it rests on; indices are positions in the list of V values."""

    verdict: Verdict
    look: int
    """Replicates at the look that the verdict rests on."""
    may_be_best: tuple[int, ...]
    """All others are worse than one of these: together wrong with probability at most `ALPHA`."""
    low: Array
    """[V] lower bounds of log(loss / least loss), simultaneous for all values; at least 0; ∞ if it diverges more."""
    high: Array
    """[V] upper bounds of log(loss / least loss), each by itself the one that INSENSITIVE asks for; ∞ if diverged."""
    pairs: Array
    """[V, V] lower bounds of log(loss i / loss j), simultaneous for all pairs; −∞ where nothing is known."""
    open: tuple[int, ...]
    """Values whose replicates would bring the verdict nearer; empty once decided."""
    more: int | None
    """Estimate of the replicates per open value at which the verdict would be reached; None if it is, or unknown."""

    def separated(self, i: int, j: int) -> bool:
        """Whether values i and j differ: true of all pairs together, at all looks, with probability 1 − `ALPHA`."""
        return bool(self.pairs[i, j] > 0 or self.pairs[j, i] > 0)


def looks(upto: int) -> list[int]:
    """The declared looks with at most so many replicates: 3, 4, 5, 6, 8, 10, … 100, and every 25 from there on."""
    return list(takewhile(lambda n: n <= upto, chain(_FIRST_LOOKS, count(125, 25))))


def level(look: int) -> float:
    """Share of `ALPHA` that look number s = 1, 2, … spends: 2α / ((s + 1)·(s + 2)), which sums to α over all looks."""
    s = len(looks(look))
    return 2 * ALPHA / ((s + 1) * (s + 2))


def decide(values: Sequence[Sequence[float]], tolerance: float, share: float = 1.0) -> Finding | None:
    """The verdict on the values of one key at a tolerance (0.1 for 10 %).

    `values` has one sequence of losses per value of the key, in the order of the seeds: log(metric), −log(metric) of a
    metric that is maximised, ∞ for a replicate that diverged. A sequence may be longer than another, and is empty where
    the value has no result. None with fewer than two values that have three replicates. `share`: the part of
    `ALPHA` to spend, if several findings share it.
    """
    newest = deque(findings(values, tolerance, share), maxlen=1)
    return newest[0] if newest else None


def findings(values: Sequence[Sequence[float]], tolerance: float, share: float = 1.0) -> Iterator[Finding]:
    """What is known after each declared look, the newest last; see `decide`.

    A pair of values is compared at the declared numbers of replicates that both have. Its bounds hold at all looks
    together, so the tightest ones so far stand, and it does not matter how replicates were allotted to values. The
    first look that decides stands, unless a replicate of a value that it calls INSENSITIVE diverges later.
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
            if look == declared[-1]:  # an estimate takes longer than all bounds
                newest = replace(newest, more=_more(sample, lost[known], limit, look, size))
        if decided is None and newest.verdict != Verdict.UNDECIDED:
            decided = newest
        yield newest if decided is None else replace(newest, verdict=decided.verdict, look=decided.look, open=())


def _finding(below: Array, above: Array, lost: Mask, more_diverged: Mask, limit: float, look: int) -> Finding:
    """The finding of bounds [V, V] on pairs; a value that diverged is worse than any finite loss, and no best."""
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
    """The value with the lowest mean, of those that never diverged if there are any."""
    return int(known[np.argmin(np.where(lost & ~lost.all(), np.inf, sample.means))])


def _open(above: Array, lost: Mask, best: int, known: NDArray[np.int_], limit: float) -> tuple[int, ...]:
    """The best value and those that are not shown to be within the limit of it; if all are, those of open pairs."""
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
    """What a look knows of its V values: means, variances of one replicate, their degrees of freedom, and counts."""

    means: Array
    variances: Array
    degrees: Array
    counts: Array
    diverged: NDArray[np.int_]

    def only(self, at: NDArray[np.int_]) -> _Sample:
        """Of some of the values."""
        return _Sample(self.means[at], self.variances[at], self.degrees[at], self.counts[at], self.diverged[at])


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


def _bounds(sample: _Sample, alpha: float, size: int) -> tuple[Array, Array]:
    """[V, V] bounds of μᵢ − μⱼ at one look: from below for all pairs of `size` values together, from above for each."""
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
    """[V] whether a value diverges more often than all others together: Fisher's exact test, one-sided."""
    total, lost = int(sample.counts.sum()), int(sample.diverged.sum())
    chance = hypergeom.sf(sample.diverged - 1, total, lost, sample.counts.astype(int))
    return np.asarray((sample.diverged > 0) & (chance <= alpha))


def _more(sample: _Sample, lost: Mask, limit: float, look: int, size: int) -> int | None:
    """Replicates until a verdict if means and spreads stay as they are; None if 400 do not suffice."""
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
