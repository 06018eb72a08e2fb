"""MMD² and density ratios of two feature sets with the gradients in closed form: GRAM's inner loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def mmd2_and_ratios(f_q: Tensor, f_p: Tensor, bandwidths: Sequence[float], ridge: float) -> tuple[Tensor, Tensor]:
    """MMD² (eq. 10, mean over the S bandwidths σ) and the density ratios r̂ of each σ at the generated points (eq. 8).

    [..., N, K] generated and [..., M, K] data features → [...] and [..., S, N]. Equal to `mmd2` and `density_ratio`
    on the Gram matrices of `gaussian_grams`, but the backward pass reuses these matrices and the factor of
    K_qq + εI instead of differentiating through them. Ratios are NaN where the matrix cannot be factorised.
    """
    mmd, ratios = _Mmd2AndRatios.apply(f_q, f_p, tuple(bandwidths), ridge)
    return mmd, ratios


class _Mmd2AndRatios(torch.autograd.Function):
    """See `mmd2_and_ratios`. With A = K_qq + εI, r = A⁻¹b, b = (N/M) K_qp 1 and g = ∂L/∂r:

    v = A⁻¹g,  ∂L/∂K_qp = (N/M) v 1ᵀ,  ∂L/∂K_qq = −v rᵀ,  and for any weights W = ∂L/∂K
    ∂L/∂f_i = Σ_j (W_ij + W_ji) k_ij (f_j − f_i) / σ².
    """

    @staticmethod
    def forward(
        ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...], ridge: float
    ) -> tuple[Tensor, Tensor]:
        n, m = f_q.shape[-2], f_p.shape[-2]
        centre = f_p.mean(dim=-2, keepdim=True)  # distances do not notice; float32 cancels less
        x, y = f_q - centre, f_p - centre
        precisions = x.new_tensor([1 / sigma**2 for sigma in bandwidths]).view(-1, 1, 1)
        # From float32 distances K_qq + εI loses its definiteness, and b its digits, for features of norm 30 and more:
        # a solve in float64 alone comes too late.
        exact = [_grams(a.double(), b.double(), precisions.double()) for a, b in ((x, x), (x, y), (y, y))]

        factor, info = torch.linalg.cholesky_ex(_with_ridge(exact[0].clone(), ridge))
        rhs = exact[1].sum(dim=-1) * (n / m)
        ratios = torch.cholesky_solve(rhs.unsqueeze(-1), factor).squeeze(-1)
        ratios = ratios.masked_fill((info != 0).unsqueeze(-1), torch.nan).to(x.dtype)
        mmd = (exact[0].mean(dim=(-2, -1)) - 2 * exact[1].mean(dim=(-2, -1)) + exact[2].mean(dim=(-2, -1))).to(x.dtype)
        k_qq, k_qp, k_pp = (gram.to(x.dtype) for gram in exact)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, k_qq, k_qp, k_pp, factor, ratios, precisions)
        return mmd.mean(dim=-1), ratios

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, y, k_qq, k_qp, k_pp, factor, ratios, precisions = ctx.saved_tensors
        g_mmd, g_ratios = grads
        n, m = k_qp.shape[-2:]
        h_qq = h_qp = h_pp = None  # Σ_s (W + Wᵀ) ∘ K / σ² by block; the qp block stands for pq too
        if g_mmd is not None:
            scale = (g_mmd / len(precisions))[..., None, None]
            h_qq = (k_qq * precisions).sum(dim=-3) * (scale * 2 / n**2)
            h_qp = (k_qp * precisions).sum(dim=-3) * (scale * -2 / (n * m))
            h_pp = (k_pp * precisions).sum(dim=-3) * (scale * 2 / m**2)
        if g_ratios is not None:
            v = torch.cholesky_solve(g_ratios.double().unsqueeze(-1), factor).squeeze(-1).to(x.dtype)
            v = v * precisions.squeeze(-1)
            outer = torch.einsum("...si,...sj,...sij->...ij", v, ratios, k_qq)
            from_qp = (k_qp * v.unsqueeze(-1)).sum(dim=-3) * (n / m)
            h_qq = -outer - outer.mT if h_qq is None else h_qq - outer - outer.mT
            h_qp = from_qp if h_qp is None else h_qp + from_qp
        if h_qq is None or h_qp is None:
            return None, None, None, None
        grad_q = h_qq @ x + h_qp @ y - (h_qq.sum(dim=-1) + h_qp.sum(dim=-1)).unsqueeze(-1) * x
        grad_p = h_qp.mT @ x - h_qp.sum(dim=-2).unsqueeze(-1) * y
        if h_pp is not None:
            grad_p += h_pp @ y - h_pp.sum(dim=-1).unsqueeze(-1) * y
        return grad_q, grad_p, None, None


def _grams(a: Tensor, b: Tensor, precisions: Tensor) -> Tensor:
    """exp(−‖a_i − b_j‖² / 2σ²): [..., S, N, M]."""
    squared = a.square().sum(dim=-1).unsqueeze(-1) + b.square().sum(dim=-1).unsqueeze(-2) - 2 * (a @ b.mT)
    return (squared.clamp_min_(0).unsqueeze(-3) * (-0.5 * precisions)).exp_()


def _with_ridge(k: Tensor, ridge: float) -> Tensor:
    k.diagonal(dim1=-2, dim2=-1).add_(ridge)
    return k
