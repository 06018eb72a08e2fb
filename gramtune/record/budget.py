"""What a sweep may spend in all, over every run of the command, and in which words it ends when that is spent."""

from __future__ import annotations

from gramtune.space.sweep import Budget


def reached(budget: Budget, seconds: float, steps: int) -> str:
    """Which limit so many seconds of wall-clock time or so many training steps reach; empty for none."""
    if budget.seconds is not None and seconds >= budget.seconds:
        return _time(budget.seconds)
    if budget.steps is not None and steps >= budget.steps:
        return _steps(budget.steps)
    return ""


def stands(budget: Budget, reason: str) -> bool:
    """Whether a trial that was stopped for this reason stays so: not if the limit has been changed meanwhile."""
    limits = [] if budget.seconds is None else [_time(budget.seconds)]
    limits += [] if budget.steps is None else [_steps(budget.steps)]
    return reason.endswith(tuple(limits))


def _time(seconds: float) -> str:
    return f"time budget of {seconds:g} s reached"


def _steps(steps: int) -> str:
    return f"budget of {steps} training steps reached"
