"""MMD² and density ratios of two feature sets with the gradients in closed form: the inner loop of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramtune.stats.estimators import mmd2


def mixture_mmd2(f_q: Tensor, f_p: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """MMD² (eq. 2, mean over the S bandwidths σ): [..., N, K] and [..., M, K] features → [...].

    Equal to `mmd2` on the Gram matrices of `gaussian_grams`, but computed in float64: features of a clamped critic are
    so near each other that float32 leaves MMD² no digits. Several times as fast as through autograd.
    """
    mmd: Tensor = _MixtureMmd2.apply(f_q, f_p, tuple(bandwidths))
    return mmd


def mmd2_and_ratios(f_q: Tensor, f_p: Tensor, bandwidths: Sequence[float], ridge: float) -> tuple[Tensor, Tensor]:
    """MMD² (eq. 10, mean over the S bandwidths σ) and the density ratios r̂ of each σ at the generated points (eq. 8).

    [..., N, K] generated and [..., M, K] data features → [...] and [..., S, N]. Equal to `mmd2` and `density_ratio`
    on the Gram matrices of `gaussian_grams`, but the backward pass reuses these matrices and the factor of
    K_qq + εI instead of differentiating through them. Ratios are NaN where the matrix cannot be factorised: for ε > 0
    where rounding leaves it not positive definite (Cholesky), for ε = 0 only where it is exactly singular (LU).
    """
    mmd, ratios = _Mmd2AndRatios.apply(f_q, f_p, tuple(bandwidths), ridge)
    return mmd, ratios


class _MixtureMmd2(torch.autograd.Function):
    """See `mixture_mmd2`. With h = mean_s k/σ², over generated f_j and data f_l,

    ∂MMD²/∂f_i = 2/N² Σ_j h_ij (f_j − f_i) − 2/(NM) Σ_l h_il (f_l − f_i) for a generated f_i; data likewise.
    """

    @staticmethod
    def forward(ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
        x, y = _centred(f_q, f_p)
        precisions = x.new_tensor([1 / sigma**2 for sigma in bandwidths], dtype=torch.float64).view(-1, 1, 1)
        exact = _blocks(x, y, precisions)
        ctx.save_for_backward(x, y, *((gram * precisions).mean(dim=-3).to(x.dtype) for gram in exact))
        return mmd2(*exact).mean(dim=-1).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, h_qq, h_qp, h_pp = ctx.saved_tensors
        n, m = h_qp.shape[-2:]
        scale = 2 * grads[0][..., None, None]
        return *_pull_back(x, y, h_qq * (scale / n**2), h_qp * (-scale / (n * m)), h_pp * (scale / m**2)), None


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
        x, y = _centred(f_q, f_p)
        precisions = x.new_tensor([1 / sigma**2 for sigma in bandwidths]).view(-1, 1, 1)
        exact = _blocks(x, y, precisions.double())
        factor, info = _factorise(exact[0], ridge)
        ratios = factor.solve(exact[1].sum(dim=-1) * (n / m))
        ratios = ratios.masked_fill((info != 0).unsqueeze(-1), torch.nan).to(x.dtype)
        mmd = mmd2(*exact).to(x.dtype)
        k_qq, k_qp, k_pp = (gram.to(x.dtype) for gram in exact)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, k_qq, k_qp, k_pp, *factor, ratios, precisions)
        return mmd.mean(dim=-1), ratios

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, y, k_qq, k_qp, k_pp, *factor, ratios, precisions = ctx.saved_tensors
        g_mmd, g_ratios = grads
        n, m = k_qp.shape[-2:]
        h_qq = h_qp = h_pp = None  # Σ_s (W + Wᵀ) ∘ K / σ² by block; the qp block stands for pq too
        if g_mmd is not None:
            scale = (g_mmd / len(precisions))[..., None, None]
            h_qq = (k_qq * precisions).sum(dim=-3) * (scale * 2 / n**2)
            h_qp = (k_qp * precisions).sum(dim=-3) * (scale * -2 / (n * m))
            h_pp = (k_pp * precisions).sum(dim=-3) * (scale * 2 / m**2)
        if g_ratios is not None:
            v = _Factor(*factor).solve(g_ratios.double()).to(x.dtype)
            v = v * precisions.squeeze(-1)
            outer = torch.einsum("...si,...sj,...sij->...ij", v, ratios, k_qq)
            from_qp = (k_qp * v.unsqueeze(-1)).sum(dim=-3) * (n / m)
            h_qq = -outer - outer.mT if h_qq is None else h_qq - outer - outer.mT
            h_qp = from_qp if h_qp is None else h_qp + from_qp
        if h_qq is None or h_qp is None:
            return None, None, None, None
        return *_pull_back(x, y, h_qq, h_qp, h_pp), None, None


class _Factor(NamedTuple):
    """A Cholesky factor, or an LU factor with its pivots, of symmetric matrices [..., S, N, N]."""

    triangles: Tensor
    pivots: Tensor | None

    def solve(self, rhs: Tensor) -> Tensor:
        """A⁻¹ rhs: [..., S, N] → [..., S, N]."""
        if self.pivots is None:
            return torch.cholesky_solve(rhs.unsqueeze(-1), self.triangles).squeeze(-1)
        solution: Tensor = torch.linalg.lu_solve(self.triangles, self.pivots, rhs.unsqueeze(-1))
        return solution.squeeze(-1)


def _factorise(k_qq: Tensor, ridge: float) -> tuple[_Factor, Tensor]:
    """A factor of K_qq + εI, and per matrix 0, or the place where it broke down.

    Without a ridge LU, which GRAMFlow's plain inverse is: rounding makes some eigenvalue of K_qq negative as soon as
    features are near each other in few dimensions (on the ring: at once), where Cholesky gives up and LU goes on.
    """
    if ridge == 0:
        triangles, pivots, info = torch.linalg.lu_factor_ex(k_qq)
        return _Factor(triangles, pivots), info
    ridged = k_qq.clone()
    ridged.diagonal(dim1=-2, dim2=-1).add_(ridge)
    triangles, info = torch.linalg.cholesky_ex(ridged)
    return _Factor(triangles, None), info


def _centred(f_q: Tensor, f_p: Tensor) -> tuple[Tensor, Tensor]:
    """Distances do not notice; float32 cancels less."""
    centre = f_p.mean(dim=-2, keepdim=True)
    return f_q - centre, f_p - centre


def _blocks(x: Tensor, y: Tensor, precisions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """K_qq, K_qp and K_pp of each 1/σ², in float64.

    From float32 distances K_qq + εI loses its definiteness, and K_qp 1 its digits, for features of norm 30 and more: a
    solve in float64 alone comes too late.
    """
    x, y = x.double(), y.double()
    return _grams(x, x, precisions), _grams(x, y, precisions), _grams(y, y, precisions)


def _grams(a: Tensor, b: Tensor, precisions: Tensor) -> Tensor:
    """exp(−‖a_i − b_j‖² / 2σ²): [..., S, N, M]."""
    squared = a.square().sum(dim=-1).unsqueeze(-1) + b.square().sum(dim=-1).unsqueeze(-2) - 2 * (a @ b.mT)
    return (squared.clamp_min_(0).unsqueeze(-3) * (-0.5 * precisions)).exp_()


def _pull_back(x: Tensor, y: Tensor, h_qq: Tensor, h_qp: Tensor, h_pp: Tensor | None) -> tuple[Tensor, Tensor]:
    """∂L/∂f_i = Σ_j H_ij (f_j − f_i) for generated and data features; H = Σ_s (W + Wᵀ) ∘ K / σ² by block."""
    grad_q = h_qq @ x + h_qp @ y - (h_qq.sum(dim=-1) + h_qp.sum(dim=-1)).unsqueeze(-1) * x
    grad_p = h_qp.mT @ x - h_qp.sum(dim=-2).unsqueeze(-1) * y
    if h_pp is not None:
        grad_p += h_pp @ y - h_pp.sum(dim=-1).unsqueeze(-1) * y
    return grad_q, grad_p
