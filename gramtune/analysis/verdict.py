"""Computes verdicts: whether a method is insensitive to a key, and which values may be the best, with bounded error.

docs/verdict.md describes the method, its assumptions and its sources. Losses are logarithms of the metric, so that a
tolerance of 10 % is a difference of log 1.1, and spreads do not depend on the mean. The same code judges one sweep
(`decide`) and many simulated sweeps at once (`batch_findings`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, count, takewhile

import numpy as np

from gramtune.analysis.pair_bounds import Array, Counts, Mask, Sample, bounds, diverges_more, sample_at

ALPHA = 0.05
"""Bound of the probability that a verdict is wrong, over all looks; the same for the set of best values."""
_FIRST_LOOKS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100)
LEAST_REPLICATES = 3
"""With fewer replicates there is no verdict."""
LOOK_AHEAD = 400
"""Most replicates considered when estimating how many are missing."""


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
    if not newest or newest[0].verdict != Verdict.UNDECIDED:
        return newest[0] if newest else None
    return replace(newest[0], more=_more(*_arrays(values), math.log1p(tolerance)))


def findings(values: Sequence[Sequence[float]], tolerance: float, share: float = 1.0) -> Iterator[Finding]:
    """The finding after each declared look, the newest last; `decide` adds the number of missing replicates."""
    losses, counts = _arrays(values)
    for each in batch_findings(losses, counts, tolerance, share):
        yield each.finding(0)


@dataclass(frozen=True)
class FindingBatch:
    """The findings on B sweeps of V values after one look; the fields have the meanings of `Finding`."""

    insensitive: Mask
    """[B]"""
    sensitive: Mask
    """[B]"""
    look: Counts
    """[B]"""
    low: Array
    """[B, V]"""
    high: Array
    """[B, V]"""
    pairs: Array
    """[B, V, V]"""
    open: Mask
    """[B, V]"""

    @property
    def decided(self) -> Mask:
        """[B]"""
        return self.insensitive | self.sensitive

    @property
    def may_be_best(self) -> Mask:
        """[B, V]"""
        best: Mask = self.low <= np.maximum(0.0, self.low.min(axis=1, keepdims=True))
        return best

    def updated(self, at: Counts, newer: FindingBatch) -> FindingBatch:
        """These findings, with the sweeps `at` [C] replaced by newer findings."""
        fields = {name: getattr(self, name).copy() for name in vars(self)}
        for name, field in fields.items():
            field[at] = getattr(newer, name)
        return FindingBatch(**fields)

    def finding(self, sweep: int) -> Finding:
        """The finding on one of the sweeps."""
        verdict = Verdict.INSENSITIVE if self.insensitive[sweep] else Verdict.UNDECIDED
        if self.sensitive[sweep]:
            verdict = Verdict.SENSITIVE
        best, still = (tuple(np.flatnonzero(mask[sweep]).tolist()) for mask in (self.may_be_best, self.open))
        bounds_of_it = self.low[sweep], self.high[sweep], self.pairs[sweep]
        return Finding(verdict, int(self.look[sweep]), best, *bounds_of_it, still, None)


def batch_findings(losses: Array, counts: Counts, tolerance: float, share: float = 1.0) -> Iterator[FindingBatch]:
    """The findings on B sweeps after each declared look, from the first `counts` [B, V] of losses [B, V, N].

    A pair of values is compared at the declared numbers of replicates that both have. Its bounds hold at all looks
    together, so the tightest bounds so far are used, and the allotment of replicates to values does not matter. The
    first decision is final, unless it is INSENSITIVE and a replicate diverges later. A sweep keeps its finding at a
    look that fewer than two of its values have reached.
    """
    batch, size = counts.shape
    last, limit = np.sort(counts, axis=1)[:, -2] if size > 1 else np.zeros(batch, int), math.log1p(tolerance)
    known, lost = counts >= LEAST_REPLICATES, _lost(losses, counts)
    below, above = np.full((batch, size, size), -np.inf), np.full((batch, size, size), np.inf)
    more_diverged, none = np.zeros((batch, size), bool), np.zeros(batch, bool)
    nothing = _worst_losses(below, above, lost, more_diverged)
    newest = FindingBatch(none, none, np.zeros(batch, int), *nothing, np.zeros((batch, size), bool))
    for look in looks(int(last.max(initial=0))):
        active = look <= last
        here = (counts >= look) & active[:, None]
        sample = sample_at(losses, np.minimum(counts, look), known)
        low, high = bounds(sample, share * level(look))
        pair = here[:, :, None] & here[:, None, :]
        below, above = np.where(pair, np.maximum(below, low), below), np.where(pair, np.minimum(above, high), above)
        more_diverged = more_diverged | diverges_more(sample, here, share * level(look) / size**2)
        low, high, pairs = _worst_losses(below, above, lost, more_diverged)
        insensitive, sensitive = _decided(low, high, limit)
        before = newest.decided
        insensitive = np.where(before, newest.insensitive, insensitive)
        sensitive = np.where(before, newest.sensitive, sensitive)
        still = _open(above, lost, _best(known, sample, lost), known, limit) & ~(insensitive | sensitive)[:, None]
        newest = FindingBatch(
            insensitive,
            sensitive,
            np.where(active & ~before, look, newest.look),
            *(low, high, pairs),
            np.where(active[:, None], still, newest.open),
        )
        yield newest


def _arrays(values: Sequence[Sequence[float]]) -> tuple[Array, Counts]:
    """The losses [1, V, N], padded with zeros, and their counts [1, V]."""
    counts = np.array([[len(value) for value in values]], int).reshape(1, len(values))
    losses = np.zeros((1, len(values), counts.max(initial=0)))
    for row, value in zip(losses[0], values, strict=True):
        row[: len(value)] = value
    return losses, counts


def _lost(losses: Array, counts: Counts) -> Mask:
    """[B, V] whether a replicate of the value diverged."""
    return np.asarray((np.isinf(losses) & (np.arange(losses.shape[2]) < counts[..., None])).any(axis=2))


def _worst_losses(below: Array, above: Array, lost: Mask, more_diverged: Mask) -> tuple[Array, Array, Array]:
    """`low`, `high` and `pairs` of bounds [B, V, V]. A diverged value is worse than any finite loss and never best."""
    itself = np.eye(below.shape[1], dtype=bool)
    pairs = np.where(itself, 0.0, np.where(lost[:, None, :], -np.inf, below))
    least = np.where(itself | lost[:, None, :], 0.0, above)
    return np.where(more_diverged, np.inf, pairs.max(axis=2)), np.where(lost, np.inf, least.max(axis=2)), pairs


def _decided(low: Array, high: Array, limit: float) -> tuple[Mask, Mask]:
    """[B] whether INSENSITIVE, and [B] whether SENSITIVE, which takes precedence."""
    sensitive = low.max(axis=1) > limit
    return np.asarray((high.max(axis=1) <= limit) & ~sensitive), np.asarray(sensitive)


def _best(known: Mask, sample: Sample, lost: Mask) -> Counts:
    """[B] the value with the lowest mean; values that never diverged come first."""
    sound = known & ~lost
    eligible = np.where(sound.any(axis=1, keepdims=True), sound, known)
    return np.asarray(np.where(eligible, sample.means, np.inf).argmin(axis=1))


def _open(above: Array, lost: Mask, best: Counts, known: Mask, limit: float) -> Mask:
    """[B, V] the best value and all values not proved to be within the limit of it; if all are, those of open pairs."""
    size = lost.shape[1]
    is_best = np.arange(size) == best[:, None]
    doubtful = ((above > limit) | lost[:, :, None]) & ~np.eye(size, dtype=bool)
    doubtful &= known[:, :, None] & known[:, None, :]
    against_best = (doubtful & is_best[:, None, :]).any(axis=2)
    some = against_best.any(axis=1, keepdims=True)
    return np.where(some, against_best | is_best, doubtful.any(axis=1) | doubtful.any(axis=2))


def _more(losses: Array, counts: Counts, limit: float) -> int | None:
    """Number of replicates until a verdict if means and spreads stay the same; None if `LOOK_AHEAD` are not enough."""
    lost, known = _lost(losses, counts), counts >= LEAST_REPLICATES
    look = looks(int(np.sort(counts[0])[-2]))[-1]
    later = np.array([n for n in looks(LOOK_AHEAD) if n > look])
    if lost.any() or not known.all() or not len(later):
        return None
    now = sample_at(losses, np.minimum(counts, look), known)
    degrees = now.degrees * (later[:, None] - 1) / (now.counts - 1)
    one, none = np.ones((len(later), 1)), np.zeros(degrees.shape, int)
    then = Sample(one * now.means, one * now.variances, degrees, later[:, None] * np.ones_like(now.counts), none)
    below, above = bounds(then, np.array([[level(n)] for n in later.tolist()]))
    nothing = np.zeros(degrees.shape, bool)
    low, high, _ = _worst_losses(below, above, nothing, nothing)
    decided = np.logical_or(*_decided(low, high, limit))
    return int(later[decided.argmax()]) - look if decided.any() else None
