"""Early stopping: whether a trial that has come to a rung may go on. Decided on the driver, from what was reported.

Nothing of it is stored: after a resume the rungs are what the journal says.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from statistics import fmean, median

from gramtune.components import Direction
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.record.student_t import t_quantile
from gramtune.space.sweep import Pruner

Scores = Sequence[float | None]
"""One value per replicate, turned so that less is better; None where it has diverged. Equal positions, equal seeds."""


class Rungs:
    """The decisions of one pruner over a sweep.

    ASHA (Li et al. 2020): at rung k (min_steps·ηᵏ steps) a trial goes on if its mean is among the best ⌊n/η⌋, at least
    one, of the n trials that have reached the rung so far. Hyperband (Li et al. 2018): the same from one of several
    first rungs, by a fixed draw on the trial's name. Median (Golovin et al. 2017): at every evaluation from min_steps,
    a trial goes on if it is no worse than the median of the others there.

    A trial with a diverged replicate is judged, but judges nobody from then on: see `_rivals`.

    With a false-prune rate α a trial is stopped only if each of as many others as the rule asks for is better than
    chance allows: see `_surely_worse`.
    """

    def __init__(self, pruner: Pruner, max_steps: int, eval_every: int, direction: Direction) -> None:
        self._pruner, self._max_steps, self._eval_every = pruner, max_steps, eval_every
        self._sign = 1.0 if direction == "min" else -1.0
        self._reached: dict[int, dict[str, Scores]] = {}
        self._stopped: dict[str, int] = {}
        self._diverged: set[str] = set()

    @classmethod
    def of(cls, state: SweepState) -> Rungs:
        """The rungs of a sweep with everything that has been reported so far."""
        config = state.plan.config
        direction = config.directions[state.plan.metric]
        rungs = cls(state.plan.sweep.pruner, config.training.steps, config.training.eval_every, direction)
        for name, record in state.records.items():
            # Of replicates that were added later the driver has not asked the pruner.
            for report in record.parts.get(0, record.reports).values():
                rungs._note(name, report, state.plan.metric)
            if record.status == Status.PRUNED and record.last:
                rungs._stopped[name] = record.last.step
        return rungs

    @property
    def _min_trials(self) -> int:
        return self._pruner.min_trials or (3 if self._pruner.name == "median" else self._pruner.reduction_factor)

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
        if not self._note(trial, report, metric):
            return ""
        reached = self._rivals(trial, report.step)
        mean, threshold = _mean(reached[trial]), self._threshold(reached, trial)
        if threshold is None or mean <= threshold:
            return ""
        rate = self._pruner.false_prune_rate
        if rate is not None and not self._surely_worse(trial, report.step, rate):
            return ""
        self._stopped[trial] = report.step
        surely = "" if rate is None else f", by more than chance (false-prune rate {rate:g})"
        return (
            f"{self._pruner.name} at step {report.step}: {metric} {self._sign * mean:.4g} is worse than "
            f"{self._sign * threshold:.4g}, the threshold of {len(reached)} trials{surely}"
        )

    def _note(self, trial: str, report: Report, metric: str) -> bool:
        """Takes note of a report at a rung; False where it is not one to be judged by."""
        values = report.metrics.get(metric, [])
        if any(report.diverged) or None in values:
            self._diverged.add(trial)
        if report.step not in self.steps(trial) or report.status.final or all(v is None for v in values):
            return False
        scores = [None if value is None else self._sign * value for value in values]
        self._reached.setdefault(report.step, {})[trial] = scores
        return True

    def _rivals(self, trial: str, step: int) -> dict[str, Scores]:
        """The scores at a rung of this trial and of those that it is compared with.

        Those with a diverged replicate are not among them. They cannot win, and the mean of the replicates that are
        left says nothing about all.
        """
        reached = self._reached[step]
        return {name: scores for name, scores in reached.items() if name == trial or name not in self._diverged}

    def _geometric(self, step: int) -> Iterator[int]:
        while step < self._max_steps:
            yield math.ceil(step / self._eval_every) * self._eval_every
            step *= self._pruner.reduction_factor

    def _threshold(self, reached: dict[str, Scores], trial: str) -> float | None:
        """The mean that a trial must not be worse than to go on."""
        if self._pruner.name == "median":
            others = [_mean(scores) for name, scores in reached.items() if name != trial]
            return median(others) if others else None
        return sorted(map(_mean, reached.values()))[self._better_needed(len(reached)) - 1]

    def _better_needed(self, n: int) -> int:
        """How many of n trials at a rung must be better than one of them for it to be stopped."""
        return n // 2 + 1 if self._pruner.name == "median" else max(1, n // self._pruner.reduction_factor)

    def _surely_worse(self, trial: str, step: int, rate: float) -> bool:
        """Whether as many others as are needed to stop the trial are each better than it, by a paired t test.

        Say the trial is the best in truth: better, in expectation over seeds, than each of the N others. A test at
        level c against any one of them errs with probability c; that k of N tests err has probability cN/k at most,
        however they depend on each other (Rüger 1978). With c = αk/(N·rungs) the best trial is stopped at any of its
        rungs with probability α at most. N counts those stopped earlier too: they were among the N that might have
        come here by luck.
        """
        reached = self._rivals(trial, step)
        others = [scores for name, scores in reached.items() if name != trial]
        rivals = len(others) + sum(stopped < step for stopped in self._stopped.values())
        needed = self._better_needed(len(reached))
        level = rate * needed / (rivals * len(self.steps(trial)))
        return sum(_worse(reached[trial], scores, level) for scores in others) >= needed


def _mean(scores: Scores) -> float:
    return fmean(score for score in scores if score is not None)


def _worse(mine: Scores, other: Scores, level: float) -> bool:
    """One-sided t test at `level` of the paired differences over the seeds that have a value in both trials."""
    gaps = [a - b for a, b in zip(mine, other, strict=False) if a is not None and b is not None]
    n = len(gaps)
    if n < 2:
        return False
    mean = sum(gaps) / n
    error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (n - 1) / n)
    return mean > t_quantile(n - 1, 1 - 2 * level) * error
