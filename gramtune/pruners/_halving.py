"""Successive halving: each rung has η times the steps of the one before, and the best 1/η of a rung continue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gramtune.components import Course, Pruner, Rung
from gramtune.pruners._fields import MinSteps, MinTrials


class Halving(Pruner):
    """At a rung a trial continues if its mean is among the best max(1, ⌊n/η⌋) of the n trials that have reached it."""

    min_steps: MinSteps = None
    """Training steps before the first decision; default: the first evaluation."""
    reduction_factor: Annotated[int, Field(ge=2)] = 4
    """η: a trial continues if it is among the best 1/η of the trials that have reached the rung. Each rung has η times
    the steps of the one before."""
    min_trials: MinTrials = None
    """Number of trials, including this one, that must have reached a rung before a decision. Default: η, so that the
    best 1/η is one trial. With 2, the second trial is compared only with the first."""

    def bracket(self, trial: str, brackets: int) -> int:
        """The index of the trial's first rung, below `brackets`."""
        return 0

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The trial's rungs: the first one, then η times the steps each, rounded up to evaluations."""
        evaluations = course.evaluations(self.min_steps)
        first = evaluations.start
        brackets = max(1, math.floor(math.log(course.steps / first, self.reduction_factor)) + 1)
        step, rungs = first * self.reduction_factor ** self.bracket(trial, brackets), []
        while step < course.steps:
            rungs.append(math.ceil(step / course.every) * course.every)
            step *= self.reduction_factor
        return rungs

    def stops(self, rung: Rung) -> str:
        """Stops the trial if its mean is worse than the last of the best ⌊n/η⌋."""
        means = sorted(rung.means.values())
        if len(means) < self.least_trials and not rung.closed:
            return f"{len(means)} of {self.least_trials} trials have reached the rung" if self.pauses else ""
        return rung.worse_than(means[max(1, len(means) // self.reduction_factor) - 1])

    @property
    def least_trials(self) -> int:
        """`min_trials`, or η."""
        return self.min_trials or self.reduction_factor

    @property
    def rule(self) -> str:
        """The rule in words: `the best 1/4 continues`."""
        return f"the best 1/{self.reduction_factor} continues"
