"""How much each varied key matters to the metric, as an evaluator elsewhere computed it: plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gramtune.record.report import Summary
from gramtune.record.state import SweepState, TrialRecord

_LEAST = 10
"""Completed trials below which a forest of regression trees has nothing to learn from."""


class Importances(NamedTuple):
    """Shares of the metric's variance that the varied keys explain, or why they are not known."""

    shares: Mapping[str, Summary] = {}
    """By key, the largest first: mean and standard deviation over `seeds` runs of the evaluator."""
    evaluator: str = ""
    trials: int = 0
    """Completed trials that it saw; others have no final value."""
    seeds: int = 0
    left_out: tuple[str, ...] = ()
    """Keys that not every completed trial has."""
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
    if len(complete_keys(state)) < 2:
        return "fewer than two keys have a value in every completed trial"
    if len({final_mean(record, state.plan.metric) for record in state.completed}) < 2:
        return "all completed trials have the same value"
    return ""


def complete_keys(state: SweepState) -> list[str]:
    """The varied keys that every completed trial has."""
    return [key for key in state.plan.sweep.space if all(key in record.trial.assignment for record in state.completed)]


def final_mean(record: TrialRecord, metric: str) -> float:
    """Of a completed trial, over its replicates."""
    summary = record.summary(metric)
    assert summary is not None, "a completed trial has a value"
    return summary.mean
