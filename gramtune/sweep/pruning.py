"""Early stopping: whether a trial that has come to a rung may go on. Decided on the driver, from what was reported.

Nothing of it is stored: after a resume the rungs are what the journal says.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from statistics import fmean, median, stdev

from gramtune.components import Direction
from gramtune.sweep.paired import t_quantile
from gramtune.sweep.spec import Pruner
from gramtune.sweep.state import Report, SweepState

Scores = list[float]
"""One value per replicate, turned so that less is better; equal positions have equal seeds."""


class Rungs:
    """The decisions of one pruner over a sweep.

    ASHA (Li et al. 2020): at rung k (min_steps·ηᵏ steps) a trial goes on if its mean is among the best ⌊n/η⌋, at least
    one, of the n trials that have reached the rung so far. Hyperband (Li et al. 2018): the same from one of several
    first rungs, by a fixed draw on the trial's name. Median (Golovin et al. 2017): at every evaluation from min_steps,
    a trial goes on if it is no worse than the median of the others there.
    """

    def __init__(self, pruner: Pruner, max_steps: int, eval_every: int, direction: Direction) -> None:
        self._pruner, self._max_steps, self._eval_every = pruner, max_steps, eval_every
        self._sign = 1.0 if direction == "min" else -1.0
        self._reached: dict[int, dict[str, Scores]] = {}

    @classmethod
    def of(cls, state: SweepState) -> Rungs:
        """The rungs of a sweep with everything that has been reported so far."""
        config = state.plan.config
        direction = config.directions[state.plan.metric]
        rungs = cls(state.plan.sweep.pruner, config.training.steps, config.training.eval_every, direction)
        for name, record in state.records.items():
            for report in record.reports.values():
                rungs.decide(name, report, state.plan.metric)
        return rungs

    def steps(self, trial: str) -> list[int]:
        """Training steps at which the trial is judged, on the grid of evaluations."""
        first = math.ceil((self._pruner.min_steps or self._eval_every) / self._eval_every) * self._eval_every
        if self._pruner.name == "none":
            return []
        if self._pruner.name == "median":
            return list(range(first, self._max_steps, self._eval_every))
        brackets = max(1, math.floor(math.log(self._max_steps / first, self._pruner.reduction_factor)) + 1)
        bracket = zlib.crc32(trial.encode()) % brackets if self._pruner.name == "hyperband" else 0
        return list(self._geometric(first * self._pruner.reduction_factor**bracket))

    def decide(self, trial: str, report: Report, metric: str) -> str:
        """Why the trial should be stopped now; an empty text to go on."""
        values = [value for value in report.metrics.get(metric, []) if value is not None]
        if report.step not in self.steps(trial) or not values or report.status.final:
            return ""
        mine = [self._sign * value for value in values]
        others = self._reached.setdefault(report.step, {})
        others[trial] = mine
        threshold = self._threshold(others, trial)
        if threshold is None or not self._worse(mine, threshold):
            return ""
        return (
            f"{self._pruner.name} at step {report.step}: {metric} {fmean(values):.4g} is worse than "
            f"{self._sign * fmean(threshold):.4g}, the threshold of {len(others)} trials"
        )

    def _geometric(self, step: int) -> Iterator[int]:
        while step < self._max_steps:
            yield math.ceil(step / self._eval_every) * self._eval_every
            step *= self._pruner.reduction_factor

    def _threshold(self, reached: dict[str, Scores], trial: str) -> Scores | None:
        """The scores that a trial must not be worse than to go on."""
        if self._pruner.name == "median":
            others = [scores for name, scores in reached.items() if name != trial]
            return [median(map(fmean, others))] if others else None
        ranking = sorted(reached.values(), key=fmean)
        return ranking[max(1, len(ranking) // self._pruner.reduction_factor) - 1]

    def _worse(self, mine: Scores, threshold: Scores) -> bool:
        """Whether `mine` is worse, and, where a false-prune rate is set, significantly so.

        One-sided t test of the paired differences where both have all replicates, of `mine` alone otherwise.
        """
        rate = self._pruner.false_prune_rate
        gap = fmean(mine) - fmean(threshold)
        if gap <= 0 or rate is None:
            return gap > 0
        paired = len(mine) == len(threshold)
        sample = [a - b for a, b in zip(mine, threshold, strict=True)] if paired else mine
        if len(sample) < 2:
            return False
        return gap > t_quantile(len(sample) - 1, 1 - 2 * rate) * stdev(sample) / math.sqrt(len(sample))
