"""The noise-aware test of early stopping: whether the replicates show that another trial is significantly better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gramtune.components import Rung
from gramtune.record.student_t import t_quantile


def surely_worse(rung: Rung, level: float) -> bool:
    """Whether some other trial at the rung is significantly better: one-sided paired t tests, each at `level`."""
    reached = dict(rung.reached)
    mine = reached.pop(rung.trial)
    seeds = [i for i, value in enumerate(mine) if value is not None]
    if len(seeds) < 2 or not reached:
        return False
    scores = np.array([[others[i] for i in seeds] for others in (mine, *reached.values())], dtype=float)
    return _some_better(_additive(scores, rung.sign), level)


def _additive(scores: NDArray[np.float64], sign: float) -> NDArray[np.float64]:
    """The scores, or their logarithms if the metric is positive, because its noise then grows with its value."""
    values = sign * scores
    return sign * np.log(values) if (values > 0).all() else scores


def _some_better(scores: NDArray[np.float64], level: float) -> bool:
    """Whether a row of scores [trials, R] has a smaller expectation than row 0: one-sided paired t tests at `level`.

    The variance of a pair's differences is estimated twice: from its R differences, and from all trials (twice the
    residual mean square after subtracting the means over trials and over seeds). The larger estimate is used, with its
    degrees of freedom. So replicates that are close by chance prove nothing, and a pair that is noisier than the others
    is tested with its own variance.
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
