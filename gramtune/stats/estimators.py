"""Estimators of MMD² and Pearson divergence from Gram matrices and ratios. Equations: GRAM-nets paper."""

from __future__ import annotations

from torch import Tensor


def mmd2(k_qq: Tensor, k_qp: Tensor, k_pp: Tensor) -> Tensor:
    """Squared maximum mean discrepancy, biased V-statistic (eq. 2, 10).

    mean K_qq − 2 mean K_qp + mean K_pp;  [..., N, N], [..., N, M], [..., M, M] → [...].
    """
    return k_qq.mean(dim=(-2, -1)) - 2 * k_qp.mean(dim=(-2, -1)) + k_pp.mean(dim=(-2, -1))


def root(squared: Tensor) -> Tensor:
    """√max(MMD², 1e-12). Below 1e-12, where rounding can make MMD² negative, the gradient is 0 instead of infinite."""
    return squared.clamp_min(1e-12).sqrt()


def pearson_divergence(ratio: Tensor) -> Tensor:
    """Pearson divergence (eq. 6, 7): mean (r̂ − 1)²;  [..., N] → [...]."""
    return (ratio - 1).square().mean(dim=-1)
