"""A pruner in one file: a trial continues while it is not much worse than the best trial at the same step."""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveFloat

from gramtune.components import Course, Pruner, Rung
from gramtune.registry import register


@register
class CloseToBest(Pruner):
    """Stops a trial whose mean is worse than the best mean at its step by more than a margin."""

    name: Literal["close_to_best"] = "close_to_best"
    margin: PositiveFloat = 10.0
    """The margin, in units of the metric."""

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """Every evaluation."""
        return course.evaluations()

    def stops(self, rung: Rung) -> str:
        """Scores are signed so that lower is better for every metric."""
        return rung.worse_than(min(rung.means.values()) + self.margin)
