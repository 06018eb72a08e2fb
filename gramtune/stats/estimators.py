"""Estimators of MMD², density ratio and Pearson divergence from Gram matrices. Equations: GRAM-nets paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def mmd2(k_qq: Tensor, k_qp: Tensor, k_pp: Tensor) -> Tensor:
    """Squared maximum mean discrepancy, biased V-statistic (eq. 2, 10).

    mean K_qq − 2 mean K_qp + mean K_pp;  [..., N, N], [..., N, M], [..., M, M] → [...].
    """
    return k_qq.mean(dim=(-2, -1)) - 2 * k_qp.mean(dim=(-2, -1)) + k_pp.mean(dim=(-2, -1))


def root(squared: Tensor) -> Tensor:
    """√max(MMD², 1e-12): at 0 the gradient of √ is infinite, and rounding takes MMD² below; there it is 0 instead."""
    return squared.clamp_min(1e-12).sqrt()


def density_ratio(k_qq: Tensor, k_qp: Tensor, ridge: float) -> Tensor:
    """Density ratio p/q at the generated points, fixed design (eq. 8), with a ridge ε on the diagonal.

    r̂ = (N/M) (K_qq + εI)⁻¹ K_qp 1;  [..., N, N], [..., N, M] → [..., N]. Solved in float64: in float32 K_qq loses
    positive definiteness during training. NaN where the matrix cannot be factorised.
    """
    n, m = k_qp.shape[-2:]
    eye = torch.eye(n, dtype=torch.float64, device=k_qq.device)
    rhs = k_qp.double().sum(dim=-1) * (n / m)
    ratio: Tensor = _SolveSPD.apply(k_qq.double() + ridge * eye, rhs)
    return ratio.to(k_qq.dtype)


def pearson_divergence(ratio: Tensor) -> Tensor:
    """Pearson divergence (eq. 6, 7): mean (r̂ − 1)²;  [..., N] → [...]."""
    return (ratio - 1).square().mean(dim=-1)


class _SolveSPD(torch.autograd.Function):
    """x = A⁻¹b for symmetric positive definite A, [..., N, N] and [..., N]; the backward pass reuses the factor.

    With g = ∂L/∂x: v = A⁻¹g, ∂L/∂b = v, ∂L/∂A = −v xᵀ.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        factor, info = torch.linalg.cholesky_ex(a)
        x = torch.cholesky_solve(b.unsqueeze(-1), factor).squeeze(-1)
        x = x.masked_fill((info != 0).unsqueeze(-1), torch.nan)
        ctx.save_for_backward(factor, x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        factor, x = ctx.saved_tensors
        v = torch.cholesky_solve(grads[0].unsqueeze(-1), factor).squeeze(-1)
        return -v.unsqueeze(-1) * x.unsqueeze(-2), v
