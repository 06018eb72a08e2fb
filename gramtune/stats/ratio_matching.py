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


class _Grams(NamedTuple):
    """What both losses are made of: centred features and their kernel matrices, and the weights 1/σ².

    All from float64 distances: from float32 ones K_qq + εI loses its definiteness, and K_qp 1 its digits, for features
    of norm 30 and more. Matrices that only gradients are made of have the precision of the features. Features lie
    transposed for the sake of small K: on a CPU [10, 200]·[200, 200] takes a quarter of the time of its transpose.
    """

    x: Tensor  # [..., K, N], generated
    y: Tensor  # [..., K, M], data
    qq: Tensor  # [..., S, N, N]
    qp: Tensor  # [..., S, N, M]
    pp: Tensor  # [..., S, M, M]
    precisions: Tensor  # [S]

    def mmd2_gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """With h = mean_s k/σ², over generated f_j and data f_l,

        ∂MMD²/∂f_i = 2/N² Σ_j h_ij (f_j − f_i) − 2/(NM) Σ_l h_il (f_l − f_i) for a generated f_i; data likewise.
        """
        n, m = self.qp.shape[-2:]
        weights = self.precisions / len(self.precisions)
        h_qq, h_qp, h_pp = (_weighted_sum(weights, gram) for gram in (self.qq, self.qp, self.pp))
        to_pq, to_qp = _pulls(h_qp, self.x, self.y)
        scale = 2 * upstream[..., None, None]
        grad_q = (_pull(h_qq, self.x) / n - to_pq / m) * (scale / n)
        grad_p = (_pull(h_pp, self.y) / m - to_qp / n) * (scale / m)
        return grad_q.mT, grad_p.mT

    def ratio_gradients(self, ratios: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """With A = K_qq + εI, r = A⁻¹b, b = (N/M) K_qp 1, g = ∂L/∂r and v = A⁻¹g, both [..., S, N]:

        ∂L/∂K_qp = (N/M) v 1ᵀ,  ∂L/∂K_qq = −v rᵀ,  and for any weights W = ∂L/∂K
        ∂L/∂f_i = Σ_j (W_ij + W_ji) k_ij (f_j − f_i) / σ².
        """
        n, m = self.qp.shape[-2:]
        v = v * self.precisions.unsqueeze(-1)
        outer = torch.stack((v, ratios), dim=-1) @ torch.stack((ratios, v), dim=-2)
        h_qq = _over_bandwidths(outer.mul_(self.qq))
        h_qp = _over_bandwidths(self.qp * v.unsqueeze(-1))
        to_pq, to_qp = _pulls(h_qp, self.x, self.y)
        return (to_pq * (n / m) - _pull(h_qq, self.x)).mT, (to_qp * (n / m)).mT


class _Values(NamedTuple):
    """What the forward pass alone needs, in float64."""

    mmd2: Tensor  # [...]
    qq: Tensor  # [..., S, N, N]
    qp_sums: Tensor  # K_qp 1, [..., S, N]


def _grams(f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...]) -> tuple[_Grams, _Values]:
    """Of generated [..., N, K] and data features [..., M, K]; distances do not notice the centring, and cancel less."""
    y = f_p.mT.double()
    centre = y.mean(dim=-1, keepdim=True)
    x, y = f_q.mT.double() - centre, y - centre
    precisions = y.new_tensor([1 / sigma**2 for sigma in bandwidths])
    left_x, right_x, left_y, right_y = *_sides(x), *_sides(y)
    qq, qp, pp = (
        _kernel(left, right, bandwidths) for left, right in ((left_x, right_x), (left_x, right_y), (left_y, right_y))
    )
    rounded = (tensor.to(f_q.dtype) for tensor in (x, y, qq, qp, pp, precisions))
    return _Grams(*rounded), _Values(mmd2(qq, qp, pp).mean(dim=-1), qq, qp.sum(dim=-1))


def _sides(a: Tensor) -> tuple[Tensor, Tensor]:
    """[a, ‖a‖², 1] and [−2a, 1, ‖a‖²], [..., K + 2, N]: leftᵀ·right is all squared distances in one product."""
    norms = a.square().sum(dim=-2, keepdim=True)
    ones = torch.ones_like(norms)
    return torch.cat((a, norms, ones), dim=-2), torch.cat((a * -2, ones, norms), dim=-2)


def _kernel(left: Tensor, right: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
    """exp(−‖a_i − b_j‖² / 2σ²) of the `_sides` of two sets: [..., S, N, M].

    A kernel of half the bandwidth of another is its fourth power: two products take a fifth of the time of an
    exponential. In the paper's mixture, σ = 1, 2, 4, 8, 16, one exponential serves all five.
    """
    squared = left.mT @ right
    grams = squared.new_empty((*squared.shape[:-2], len(bandwidths), *squared.shape[-2:]))
    done: dict[float, Tensor] = {}
    for i, sigma in sorted(enumerate(bandwidths), key=lambda pair: -pair[1]):
        gram = grams.select(-3, i)
        if (wider := done.get(2 * sigma)) is None:
            torch.mul(squared, -0.5 / sigma**2, out=gram).exp_()
        else:
            torch.square(wider, out=gram).square_()
        done[sigma] = gram
    return grams


def _weighted_sum(weights: Tensor, grams: Tensor) -> Tensor:
    """Σ_s w_s k_s: [S], [..., S, N, M] → [..., N, M]."""
    if len(weights) == 1:
        return grams.squeeze(-3) * weights
    total: Tensor = (weights @ grams.flatten(-2)).unflatten(-1, grams.shape[-2:])
    return total


def _over_bandwidths(weights: Tensor) -> Tensor:
    """Σ_s: [..., S, N, M] → [..., N, M]; a sum of one would be a copy."""
    return weights.squeeze(-3) if weights.shape[-3] == 1 else weights.sum(dim=-3)


def _pull(h: Tensor, points: Tensor) -> Tensor:
    """Σ_j h_ij (f_j − f_i) for a symmetric h: [..., N, N], [..., K, N] → [..., K, N]."""
    return points @ h - points * h.sum(dim=-1).unsqueeze(-2)


def _pulls(h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_l h_il (y_l − x_i), [..., K, N], and Σ_i h_il (x_i − y_l), [..., K, M], for weights [..., N, M]."""
    return y @ h.mT - x * h.sum(dim=-1).unsqueeze(-2), x @ h - y * h.sum(dim=-2).unsqueeze(-2)


class _MixtureMmd2(torch.autograd.Function):
    """See `mixture_mmd2`."""

    @staticmethod
    def forward(ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
        grams, values = _grams(f_q, f_p, bandwidths)
        ctx.save_for_backward(*grams)
        return values.mmd2.to(f_q.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return *_Grams(*ctx.saved_tensors).mmd2_gradients(grads[0]), None


class _Mmd2AndRatios(torch.autograd.Function):
    """See `mmd2_and_ratios`."""

    @staticmethod
    def forward(
        ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...], ridge: float
    ) -> tuple[Tensor, Tensor]:
        grams, values = _grams(f_q, f_p, bandwidths)
        factor, info = _factorise(values.qq, ridge)
        ratios = factor.solve(values.qp_sums * (f_q.shape[-2] / f_p.shape[-2]))
        ratios = ratios.masked_fill((info != 0).unsqueeze(-1), torch.nan).to(f_q.dtype)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*grams, ratios, *factor)
        return values.mmd2.to(f_q.dtype), ratios

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        fields = len(_Grams._fields)
        grams, ratios = _Grams(*ctx.saved_tensors[:fields]), ctx.saved_tensors[fields]
        of_mmd, of_ratios = grads
        parts = []
        if of_mmd is not None:
            parts.append(grams.mmd2_gradients(of_mmd))
        if of_ratios is not None:
            v = _Factor(*ctx.saved_tensors[fields + 1 :]).solve(of_ratios.double())
            parts.append(grams.ratio_gradients(ratios, v.to(ratios.dtype)))
        if len(parts) == 2:
            return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1], None, None
        return *(parts[0] if parts else (None, None)), None, None


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
