"""Early stopping: whether a trial that has come to a rung may go on. Decided on the driver, from what was reported.

Nothing of it is stored: after a resume the rungs are what the journal says.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from gramtune.components import Direction
from gramtune.errors import count
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

    Nobody is judged by fewer than `min_trials` trials at a rung, the judged one included.

    Usually trials are judged as they come. With `order` a trial is judged by those before it in that order, by what is
    known of them up to the same step, so that the decisions do not depend on who came first.

    With a false-prune rate α a trial is stopped only if another one is better than chance allows: see `_surely_worse`.
    """

    def __init__(
        self,
        pruner: Pruner,
        max_steps: int,
        eval_every: int,
        direction: Direction,
        order: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self._pruner, self._max_steps, self._eval_every = pruner, max_steps, eval_every
        self._sign = 1.0 if direction == "min" else -1.0
        self._reached: dict[int, dict[str, Scores]] = {}
        self._stopped: dict[str, int] = {}
        self._diverged: dict[str, int] = {}
        """Step at which a trial was first seen to have lost a replicate."""
        self._order = order

    @classmethod
    def of(cls, state: SweepState) -> Rungs:
        """The rungs of a sweep with everything that has been reported so far."""
        config = state.plan.config
        direction = config.directions[state.plan.metric]
        order = (lambda: state.records) if state.plan.sweep.search.synchronous else None
        rungs = cls(state.plan.sweep.pruner, config.training.steps, config.judged_every, direction, order)
        for name, record in state.records.items():
            for report in record.reports.values():
                standing = record.standing(report, state.plan.metric)
                rungs._note(name, _first(standing, state.plan.sweep.min_replicates), state.plan.metric)
            if record.status == Status.PRUNED and record.last:
                rungs._stopped[name] = record.last.step
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
            f"{self._sign * threshold:.4g}, the threshold of {count(len(reached), 'trial')}{surely}"
        )

    def _note(self, trial: str, report: Report, metric: str) -> bool:
        """Takes note of a report at a rung; False where it is not one to be judged by."""
        values = report.metrics.get(metric, [])
        if any(report.diverged) or None in values:
            self._diverged[trial] = min(report.step, self._diverged.get(trial, report.step))
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
        judges = [name for name in self._before(trial, reached) if name in reached and not self._lost(name, step)]
        return {name: reached[name] for name in (*judges, trial)}

    def _before(self, trial: str, arrived: Iterable[str]) -> list[str]:
        """The others among those that have arrived or, in a fixed order, all before this trial."""
        if self._order is None:
            return [name for name in arrived if name != trial]
        return list(takewhile(lambda name: name != trial, self._order()))

    def _lost(self, trial: str, step: int) -> bool:
        """Whether a replicate of the trial diverged; in a synchronous search, at this step or before."""
        return trial in self._diverged and (self._order is None or self._diverged[trial] <= step)

    def _geometric(self, step: int) -> Iterator[int]:
        while step < self._max_steps:
            yield math.ceil(step / self._eval_every) * self._eval_every
            step *= self._pruner.reduction_factor

    def _threshold(self, reached: dict[str, Scores], trial: str) -> float | None:
        """The mean that a trial must not be worse than to go on; None where too few have come for a judgement."""
        if len(reached) < self._pruner.least_trials:
            return None
        if self._pruner.name == "median":
            others = [_mean(scores) for name, scores in reached.items() if name != trial]
            return median(others)
        return sorted(map(_mean, reached.values()))[max(1, len(reached) // self._pruner.reduction_factor) - 1]

    def _surely_worse(self, trial: str, step: int, rate: float) -> bool:
        """Whether some other at the rung is better than the trial, by a paired t test that allows for all N others.

        Say the trial is the best in truth: better, in expectation over seeds, than each of the N others. Each test errs
        with probability α/(N·rungs), so the best trial is stopped at any of its rungs with probability α at most,
        however the tests depend on each other (Bonferroni). That one significant rival is enough is fixed in advance:
        a number that depends on the data would cost a factor. N counts those stopped earlier, too: they were among
        the N that might have come here by luck.
        """
        reached = self._rivals(trial, step)
        mine = reached.pop(trial)
        seeds = [i for i, value in enumerate(mine) if value is not None]
        if len(seeds) < 2 or not reached:
            return False
        rivals = len(reached) + sum(self._stopped.get(name, step) < step for name in self._before(trial, self._stopped))
        scores = np.array([[others[i] for i in seeds] for others in (mine, *reached.values())], dtype=float)
        return _some_better(self._additive(scores), rate / (rivals * len(self.steps(trial))))

    def _additive(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores, by their logarithms where the metric is positive: its noise grows with its value."""
        values = self._sign * scores
        return self._sign * np.log(values) if (values > 0).all() else scores


def _first(report: Report, replicates: int) -> Report:
    """The report without the replicates that open values alone were given: every trial is judged by as many."""
    metrics = {key: values[:replicates] for key, values in report.metrics.items()}
    return replace(report, metrics=metrics, diverged=report.diverged[:replicates])


def _mean(scores: Scores) -> float:
    return fmean(score for score in scores if score is not None)


def _some_better(scores: NDArray[np.float64], level: float) -> bool:
    """Whether a row of scores [trials, R] has a smaller expectation than row 0: one-sided paired t tests at `level`.

    The variance of a pair's differences is estimated from the R of that pair and from all trials: twice the residual
    mean square of the scores without their means over trials and over seeds. The larger one counts, with the degrees
    of freedom that it has. So few replicates that lie close together by chance prove nothing, and a pair noisier than
    the rest has to prove its difference alone.
    """
    n, replicates = scores.shape
    residuals = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    pooled_degrees = (n - 1) * (replicates - 1)
    pooled = 2 * float((residuals**2).sum()) / pooled_degrees
    gaps = scores[0] - scores[1:]
    own = gaps.var(axis=1, ddof=1)
    alone, together = (t_quantile(degrees, 1 - 2 * level) for degrees in (replicates - 1, pooled_degrees))
    errors = np.sqrt(np.maximum(own, pooled) / replicates)
    return bool((gaps.mean(axis=1) > np.where(own > pooled, alone, together) * errors).any())
