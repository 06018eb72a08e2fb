"""Successive halving: the rungs are η apart, and the best 1/η of a rung go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gramtune.components import Course, Pruner, Rung
from gramtune.pruners._fields import MinSteps, MinTrials


class Halving(Pruner):
    """At a rung a trial goes on if its mean is among the best ⌊n/η⌋, at least one, of the n that have come so far."""

    min_steps: MinSteps = None
    """Training steps before the first decision; default: the first evaluation."""
    reduction_factor: Annotated[int, Field(ge=2)] = 4
    """η: a trial goes on if it is among the best 1/η of those that have come as far; rungs are η apart."""
    min_trials: MinTrials = None
    """Trials, this one included, that must have come as far before one is judged. Default: η, of which the best 1/η is
    one trial. With 2, the second trial is judged by the first alone."""

    def bracket(self, trial: str, brackets: int) -> int:
        """At which of so many rungs the trial is judged first."""
        return 0

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The trial's first rung and those that are η apart, rounded up to evaluations."""
        evaluations = course.evaluations(self.min_steps)
        first = evaluations.start
        brackets = max(1, math.floor(math.log(course.steps / first, self.reduction_factor)) + 1)
        step, rungs = first * self.reduction_factor ** self.bracket(trial, brackets), []
        while step < course.steps:
            rungs.append(math.ceil(step / course.every) * course.every)
            step *= self.reduction_factor
        return rungs

    def stops(self, rung: Rung) -> str:
        """The threshold is the last of the best ⌊n/η⌋."""
        means = sorted(rung.means.values())
        if len(means) < self.least_trials:
            return ""
        return rung.worse_than(means[max(1, len(means) // self.reduction_factor) - 1])

    @property
    def least_trials(self) -> int:
        """`min_trials`, or η."""
        return self.min_trials or self.reduction_factor

    @property
    def rule(self) -> str:
        """`the best 1/4 goes on`."""
        return f"the best 1/{self.reduction_factor} goes on"
