"""Compares how sensitive two methods are to a key, by bounds of their worst-case losses at a common error level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.analysis.verdict import decide
from gramtune.record.state import SweepState


@dataclass(frozen=True)
class Comparison:
    """Two methods along one key. W of a method is log(loss of its worst value / loss of its best value)."""

    key: str
    methods: tuple[str, str]
    worst: tuple[tuple[float, float], tuple[float, float]]
    """Lower and upper bound of W for each method; the upper one is ∞ if a replicate diverged."""

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of W of the second method minus W of the first; above 0 if the first is less sensitive."""
        (low, high), (other_low, other_high) = self.worst
        return other_low - high, other_high - low


def method_comparisons(state: SweepState) -> list[Comparison]:
    """Compares every two methods with a verdict, along every key; the probability of any error is at most α.

    A method's lower bound is its largest `low`, its upper bound its largest `high`. The upper bound needs no correction
    for pairs of values, because W is the difference of one fixed pair (`docs/verdict.md`). The two bounds per method
    share α.
    """
    rows = [row for row in verdicts(state) if row.finding and row.method]
    pairs = [(a, b) for a, b in combinations(rows, 2) if a.key == b.key]
    compared = {(row.key, row.method): row for pair in pairs for row in pair}
    bounds = {name: _bounds(row, state, 1 / (2 * len(compared))) for name, row in compared.items()}
    return [
        Comparison(a.key, (a.method, b.method), (bounds[a.key, a.method], bounds[b.key, b.method])) for a, b in pairs
    ]


def _bounds(row: KeyVerdict, state: SweepState, share: float) -> tuple[float, float]:
    finding = decide(row.losses, state.plan.sweep.tolerance, share)
    assert finding is not None, "a row with a finding has enough replicates"
    return float(finding.low.max()), float(finding.high.max())
