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
    """The median rule (Golovin et al. 2017): at each evaluation, what is worse than the median of the others stops."""

    name: Literal["median"] = "median"
    min_steps: MinSteps = None
    """Training steps before the first decision; default: the first evaluation."""
    min_trials: MinTrials = None
    """Trials, this one included, that must have come as far before one is judged. Default: 3. With 2, the second trial
    is judged by the first alone."""

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """Every evaluation from `min_steps` on."""
        return course.evaluations(self.min_steps)

    def stops(self, rung: Rung) -> str:
        """The threshold is the median of the other trials' means."""
        if len(rung.reached) < self.least_trials:
            return ""
        return rung.worse_than(median(mean for name, mean in rung.means.items() if name != rung.trial))

    @property
    def least_trials(self) -> int:
        """`min_trials`, or 3."""
        return self.min_trials or 3

    @property
    def rule(self) -> str:
        """Who goes on."""
        return "the better half goes on"
