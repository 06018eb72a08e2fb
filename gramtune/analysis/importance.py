"""The importance of each varied key for the metric, as plain numbers; computed in `backends/optuna/importance.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gramtune.record.state import SweepState, TrialRecord

_LEAST = 10
"""Least number of completed trials; with fewer, the best ones are too few to have a distribution."""


@dataclass(frozen=True)
class Importances:
    """How much each varied key determines whether a trial is among the best, or why this is unknown."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """Importance by key, largest first; all varied keys are included, and the sum is 1."""
    evaluator: str = ""
    trials: int = 0
    """Number of completed trials used."""
    worse: int = 0
    """Number of pruned and diverged trials used. They have no final value and rank below all completed ones."""
    best: int = 0
    """Number of best trials whose values are compared with those of all trials."""
    why: str = ""
    """Why there are no importances; empty if there are."""


def unknown(state: SweepState) -> str:
    """Why importances cannot be computed; empty if they can."""
    if state.plan.sweep.is_population:
        return "a population's values change during training"
    if len(state.plan.sweep.space) < 2:
        return "one varied key explains everything"
    if len(state.completed) < _LEAST:
        return f"{len(state.completed)} completed trials are too few; {_LEAST} are needed"
    if not state.comparable:
        return "trials with different data, samples or lengths have no common order"
    if len({final_mean(record, state.plan.metric) for record in state.completed}) < 2:
        return "all completed trials have the same value"
    return ""


def final_mean(record: TrialRecord, metric: str) -> float:
    """The final mean of a completed trial over its replicates."""
    summary = record.summary(metric)
    assert summary is not None, "a completed trial has a value"
    return summary.mean
