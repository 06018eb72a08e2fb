"""The budgets of a sweep over all runs of the command, and the message when one is spent."""

from __future__ import annotations

from gramtune.space.budget import Budget

ON_REQUEST = "stopped on request"
"""The reason of a trial that the user stopped; such a trial stays stopped after a resume."""


def reached(budget: Budget, seconds: float, steps: int) -> str:
    """The message for the limit reached by this wall-clock time (seconds) or number of steps; empty if none is."""
    if budget.seconds is not None and seconds >= budget.seconds:
        return _time(budget.seconds)
    if budget.steps is not None and steps >= budget.steps:
        return _steps(budget.steps)
    return ""


def stands(budget: Budget, reason: str) -> bool:
    """Whether a trial stopped for this reason stays stopped; False if the limit has changed."""
    limits = [] if budget.seconds is None else [_time(budget.seconds)]
    limits += [] if budget.steps is None else [_steps(budget.steps)]
    limits += [ON_REQUEST]
    return reason.endswith(tuple(limits))


def _time(seconds: float) -> str:
    return f"time budget of {seconds:g} s reached"


def _steps(steps: int) -> str:
    return f"budget of {steps} training steps reached"
