"""Bounds of the differences between the means of a key's values at one look, for many sweeps at once.

docs/verdict.md describes the method, its assumptions and its sources. B sweeps have V values each; B = 1 is one sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtrit
from scipy.stats import hypergeom

Array = NDArray[np.float64]
Counts = NDArray[np.int_]
Mask = NDArray[np.bool_]

_LEAST_EXCESS = 1e-3
"""If the excess scatter of log variances is below this, the variances are pooled."""
_CAUTION = 2.0
"""Standard errors added to the estimate of how much the spreads differ: docs/verdict.md, `Spreads`."""
_BORROWED = 0.5
"""Share of the degrees of freedom that other values lend which counts: docs/verdict.md, `Spreads`."""
_LEAST_SPREAD = 1e-5
"""Variances are at least this fraction of the median variance, because rounding can make two values equal."""
_TINY = np.finfo(float).tiny


@dataclass(frozen=True)
class Sample:
    """Statistics of the values [B, V] at a look; entries of unknown values have no meaning."""

    means: Array
    variances: Array
    """Variances of one replicate."""
    degrees: Array
    """Degrees of freedom of the variances."""
    counts: Counts
    """Number of replicates."""
    diverged: Counts
    """Number of diverged replicates among `counts`."""


def sample_at(losses: Array, counts: Counts, known: Mask) -> Sample:
    """The statistics of the first `counts` [B, V] losses [B, V, N] of each known value.

    A diverged replicate counts with the largest finite loss of all, which is a lower bound of its own.
    """
    counts = np.where(known, counts, 1)
    there = (np.arange(losses.shape[2]) < counts[..., None]) & known[..., None]
    finite = there & np.isfinite(losses)
    worst = np.where(finite, losses, -np.inf).max(axis=(1, 2))
    clipped = np.minimum(np.where(there, losses, 0.0), np.where(np.isfinite(worst), worst, 0.0)[:, None, None])
    means = np.where(there, clipped, 0.0).sum(axis=2) / counts
    squares = np.where(there, clipped - means[..., None], 0.0) ** 2
    diverged = (there & ~finite).sum(axis=2)
    degrees = np.where(known, counts - 1, 1).astype(float)
    variances, freedom = moderated(squares.sum(axis=2) / degrees, degrees, known & (diverged == 0))
    return Sample(means, variances, freedom, counts, diverged)


def bounds(sample: Sample, alpha: float | Array) -> tuple[Array, Array]:
    """[B, V, V] bounds of μᵢ − μⱼ: the lower ones hold for all pairs of a sweep together, the upper ones for each.

    `alpha` is a number, or [B, 1]. Bonferroni over V² pairs; t with Welch–Satterthwaite's degrees of freedom.
    """
    batch, size = sample.means.shape
    i, j = np.triu_indices(size, 1)
    each = sample.variances / sample.counts
    parts = each**2 / sample.degrees
    total = np.maximum(each[:, i] + each[:, j], _TINY)
    degrees, error = total**2 / np.maximum(parts[:, i] + parts[:, j], _TINY), np.sqrt(total)
    difference = sample.means[:, i] - sample.means[:, j]
    together, single = stdtrit(degrees, 1 - alpha / size**2) * error, stdtrit(degrees, 1 - alpha) * error
    below, above = np.zeros((batch, size, size)), np.zeros((batch, size, size))
    below[:, i, j], below[:, j, i] = difference - together, -difference - together
    above[:, i, j], above[:, j, i] = difference + single, -difference + single
    return below, above


def diverges_more(sample: Sample, here: Mask, alpha: float) -> Mask:
    """[B, V] whether a value diverges more often than all others in `here` (one-sided Fisher's exact test)."""
    counts, diverged = np.where(here, sample.counts, 0), np.where(here, sample.diverged, 0)
    some = diverged > 0
    if not some.any():
        return some
    total, lost = counts.sum(axis=1, keepdims=True), diverged.sum(axis=1, keepdims=True)
    chance = np.ones(some.shape)
    of = np.broadcast_to(total, some.shape)[some], np.broadcast_to(lost, some.shape)[some]
    chance[some] = hypergeom.sf(diverged[some] - 1, *of, counts[some])
    found: Mask = some & (chance <= alpha)
    return found


def moderated(spreads: Array, degrees: Array, usable: Mask) -> tuple[Array, Array]:
    """[…, V] moderated variances, each estimated with the help of the others, and their degrees of freedom.

    Smyth (2004), sections 6 and 3: sample variances s² with ν degrees of freedom scatter around values of their own
    that follow a scaled inverse χ² with (ν₀, s₀²), estimated from the moments of log s². The moderated variance is
    (ν₀s₀² + νs²)/(ν₀ + ν) with ν₀ + ν degrees, at most those of all values together. Three cautions make it hold with
    few values and unequal spreads: the scatter is taken `_CAUTION` of its standard errors larger than estimated, no
    variance is smaller than the value's own, and of the borrowed degrees ν₀ only the share `_BORROWED` counts.
    """
    known = np.maximum(spreads, _LEAST_SPREAD * _median(spreads, usable))
    sound = usable & (known > 0)
    enough = sound.sum(axis=-1, keepdims=True) >= 2
    number = np.maximum(sound.sum(axis=-1, keepdims=True), 2)
    half = degrees / 2
    logs = np.where(sound, np.log(np.where(sound, known, 1.0)) - digamma(half) + np.log(half), 0.0)
    middle = logs.sum(axis=-1, keepdims=True) / number
    chance = np.where(sound, polygamma(1, half), 0.0).sum(axis=-1, keepdims=True) / number
    scatter = np.where(sound, (logs - middle) ** 2, 0.0).sum(axis=-1, keepdims=True) / (number - 1)
    excess = scatter - chance + _CAUTION * chance * np.sqrt(2 / (number - 1))
    prior = 2 * _inverse_trigamma(np.maximum(excess, _LEAST_EXCESS))
    centre = np.exp(middle + digamma(prior / 2) - np.log(prior / 2))
    mixed = np.maximum((prior * centre + degrees * known) / (prior + degrees), known)
    total = np.where(sound, degrees, 0.0).sum(axis=-1, keepdims=True)
    borrow = usable & enough
    lent = np.minimum(prior, total - degrees)
    return np.where(borrow, mixed, known), np.where(borrow, degrees + _BORROWED * lent, degrees)


def _median(values: Array, usable: Mask) -> Array:
    """[…, 1] median of the usable values; 0 if there are none."""
    ordered = np.sort(np.where(usable, values, np.inf), axis=-1)
    number = usable.sum(axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0), axis=-1) for at in ((number - 1) // 2, number // 2))
    return np.where(number > 0, (low + high) / 2, 0.0)


def _inverse_trigamma(values: Array) -> Array:
    """x > 0 with ψ′(x) = value, for values > 0: Newton's method on 1/ψ′, which is nearly linear (Smyth 2004, app.)."""
    x = 0.5 + 1 / values
    for _ in range(50):
        trigamma = polygamma(1, x)
        change = trigamma * (1 - trigamma / values) / polygamma(2, x)
        x = x + change
        if (np.abs(change) < 1e-12 * x).all():
            break
    return np.asarray(x)
