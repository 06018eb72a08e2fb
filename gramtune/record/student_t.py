"""Quantiles of Student's t, for paired replicates: replicate i has the same batches and noise in every trial."""

from __future__ import annotations

from functools import cache


@cache
def t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """t with P(|T| ≤ t) = `confidence` for Student's T with ν degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats takes longer to import

    return float(stdtrit(degrees, (1 + confidence) / 2))
