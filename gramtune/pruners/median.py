"""The median rule."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from gramtune.components import Course, Pruner, Rung
from gramtune.pruners._fields import MinSteps, MinTrials
from gramtune.registry import register


@register
class Median(Pruner):
    """The median rule (Golovin et al. 2017): at each evaluation it stops trials worse than the median of the others."""

    name: Literal["median"] = "median"
    min_steps: MinSteps = None
    """Training steps before the first decision; default: the first evaluation."""
    min_trials: MinTrials = None
    """Number of trials, including this one, that must have reached a step before a decision. Default: 3. With 2, the
    second trial is compared only with the first."""

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """Every evaluation from `min_steps` on."""
        return course.evaluations(self.min_steps)

    def stops(self, rung: Rung) -> str:
        """Stops the trial if its mean is worse than the median of the other trials' means."""
        if len(rung.reached) < self.least_trials:
            return ""
        return rung.worse_than(median(mean for name, mean in rung.means.items() if name != rung.trial))

    @property
    def least_trials(self) -> int:
        """`min_trials`, or 3."""
        return self.min_trials or 3

    @property
    def rule(self) -> str:
        """The rule in words."""
        return "the better half continues"
