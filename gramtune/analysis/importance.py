"""How much each varied key matters to the metric, as an evaluator elsewhere computed it: plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gramtune.record.state import SweepState, TrialRecord

_LEAST = 10
"""Completed trials below which the best ones are too few to have a distribution."""


@dataclass(frozen=True)
class Importances:
    """How much each varied key decides about being among the best trials, or why that is not known."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """By key, the largest first. Every varied key has one; they sum to 1."""
    evaluator: str = ""
    trials: int = 0
    """Completed trials that it saw."""
    worse: int = 0
    """Pruned and diverged trials that it saw. They have no final value, and count as worse than all completed ones."""
    best: int = 0
    """The best of these trials, which the evaluator tells from all of them."""
    why: str = ""
    """Why there are none; empty where there are."""


def unknown(state: SweepState) -> str:
    """Why no evaluator can say what matters; empty where one can."""
    if state.plan.sweep.scheduler.name == "pbt":
        return "a population's values change during training"
    if len(state.plan.sweep.space) < 2:
        return "one varied key explains everything"
    if len(state.completed) < _LEAST:
        return f"{len(state.completed)} completed trials are too few; {_LEAST} are needed"
    if not state.comparable:
        return "trials on different data, samples or lengths have no common order"
    if len({final_mean(record, state.plan.metric) for record in state.completed}) < 2:
        return "all completed trials have the same value"
    return ""


def final_mean(record: TrialRecord, metric: str) -> float:
    """Of a completed trial, over its replicates."""
    summary = record.summary(metric)
    assert summary is not None, "a completed trial has a value"
    return summary.mean
