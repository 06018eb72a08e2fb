"""Compares two trials by a confidence interval of their paired differences over equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gramtune.record.report import Status, summarise
from gramtune.record.state import SweepState, TrialRecord
from gramtune.record.student_t import t_quantile


@dataclass(frozen=True)
class Difference:
    """Mean of n paired differences a − b and its confidence interval, 95 % for all `pairs` together (Bonferroni)."""

    mean: float
    low: float
    high: float
    n: int
    pairs: int = 1

    @property
    def separated(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def ranked(state: SweepState, group: Sequence[TrialRecord] | None = None) -> list[TrialRecord]:
    """Completed trials ordered by their mean of the primary metric, best first; other trials are not ranked.

    Ranks one group of comparable trials, or all trials; empty if these are not comparable.
    """
    if group is None and not state.comparable:
        return []
    records = state.records.values() if group is None else group
    metric = state.plan.metric
    sign = 1 if state.plan.config.directions[metric] == "min" else -1
    means = [(s.mean, r) for r in records if r.status == Status.COMPLETED and (s := r.summary(metric))]
    return [record for _, record in sorted(means, key=lambda pair: sign * pair[0])]


def paired_difference(a: TrialRecord, b: TrialRecord, metric: str, pairs: int = 1) -> Difference | None:
    """Newest value of `a` minus that of `b`, seed by seed: d̄ ± t₀.₉₇₅,ₙ₋₁·s_d/√n.

    Equal seeds draw the same batches and noise, so effects of a seed common to both trials cancel. With `pairs` the
    quantile is that of level 5 %/pairs, so that this many intervals hold together. None if fewer than two seeds have a
    value in both trials.
    """
    left, right = by_seed(a, metric), by_seed(b, metric)
    differences = [left[seed] - right[seed] for seed in left if seed in right]
    found = summarise(differences)
    if found is None or found.std is None:
        return None
    margin = t_quantile(found.n - 1, 1 - 0.05 / pairs) * found.std / math.sqrt(found.n)
    return Difference(found.mean, found.mean - margin, found.mean + margin, found.n, pairs)


def by_seed(record: TrialRecord, metric: str) -> dict[int, float]:
    """The newest value of each replicate that has one, by seed."""
    first = record.trial.config.training.seed
    return {first + i: value for i, value in enumerate(record.values(metric)) if value is not None}
