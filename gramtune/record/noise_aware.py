"""The noise-aware rule of early stopping: do the replicates show that another trial is better, beyond chance?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gramtune.components import Rung
from gramtune.record.student_t import t_quantile


def surely_worse(rung: Rung, level: float) -> bool:
    """Whether some other at the rung is better than the trial: one-sided paired t tests, each at `level`."""
    reached = dict(rung.reached)
    mine = reached.pop(rung.trial)
    seeds = [i for i, value in enumerate(mine) if value is not None]
    if len(seeds) < 2 or not reached:
        return False
    scores = np.array([[others[i] for i in seeds] for others in (mine, *reached.values())], dtype=float)
    return _some_better(_additive(scores, rung.sign), level)


def _additive(scores: NDArray[np.float64], sign: float) -> NDArray[np.float64]:
    """The scores, by their logarithms where the metric is positive: its noise grows with its value."""
    values = sign * scores
    return sign * np.log(values) if (values > 0).all() else scores


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
