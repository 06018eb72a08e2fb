"""MMD² and density ratios of two feature sets, with gradients in closed form: the inner loop of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramtune.stats.estimators import mmd2
from gramtune.stats.triangular import inverse_of_lower


def mixture_mmd2(f_q: Tensor, f_p: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """MMD² (eq. 2, mean over the S bandwidths σ): [..., N, K] and [..., M, K] features → [...].

    Equal to `mmd2` of the Gram matrices, but computed in float64: the features of a clamped critic are so close that
    MMD² in float32 is pure rounding error. Several times as fast as autograd.
    """
    mmd: Tensor = _MixtureMmd2.apply(f_q, f_p, tuple(bandwidths))
    return mmd


def mmd2_and_ratios(f_q: Tensor, f_p: Tensor, bandwidths: Sequence[float], ridge: float) -> tuple[Tensor, Tensor]:
    """MMD² (eq. 10, mean over the S bandwidths σ) and the density ratios r̂ of each σ at the generated points (eq. 8).

    [..., N, K] generated and [..., M, K] data features → [...] and [..., S, N]. Equal to autograd through Gram matrices
    and a solver, but the backward pass reuses the matrices and the factor of K_qq + εI instead of differentiating
    through them. Ratios are NaN if the matrix cannot be factorised. For ε > 0 (Cholesky) this happens if rounding makes
    it indefinite, for ε = 0 (LU) only if it is exactly singular.
    """
    mmd, ratios = _Mmd2AndRatios.apply(f_q, f_p, tuple(bandwidths), ridge)
    return mmd, ratios


@dataclass(frozen=True)
class _Points:
    """N generated points x and M data points y.

    Distances are float64. With float32 distances K_qq + εI is no longer positive definite, K_qp 1 loses its digits for
    features of norm 30 and more, and MMD² loses its digits for a clamped critic. Values that only gradients use keep
    the precision of the features. Features are stored transposed because K is small: on a CPU [10, 200]·[200, 200]
    takes a quarter of the time of its transpose.
    """

    z1: Tensor  # [..., K + 1, N + M], x, then y, and a row of ones
    q: Tensor  # [..., N, N + M], −c‖x_i − z_j‖²/2 with the c = 1/σ² of the widest kernel
    pp: Tensor  # [..., M, M], −c‖y_i − y_j‖²/2


def _points(f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...]) -> _Points:
    """The points of generated features [..., N, K] and data features [..., M, K]."""
    n, c = f_q.shape[-2], 1 / max(bandwidths) ** 2
    z = torch.cat((f_q, f_p), dim=-2).mT.double()
    z = z - z[..., n:].mean(dim=-1, keepdim=True)  # distances are invariant to a shift; centred values cancel less
    norms = z.square().sum(dim=-2, keepdim=True)
    ones = torch.ones_like(norms)
    left = torch.cat((z * c, norms * (-c / 2), ones * (-c / 2)), dim=-2)
    right = torch.cat((z, ones, norms), dim=-2)
    q, pp = _product(left[..., :n].mT, right), _product(left[..., n:].mT, right[..., n:])
    return _Points(right[..., :-1, :], q, pp)


@dataclass(frozen=True)
class _Mixture:
    """The terms of the gradient of MMD², with h = mean_s k_s/σ_s²."""

    z1: Tensor  # [..., K + 1, N + M], as in `_Points`
    q: Tensor  # [..., N, N + M]
    pp: Tensor  # [..., M, M]

    def gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """∂MMD²/∂f_i = 2 s_i Σ_j h_ij s_j (f_j − f_i), with s = 1/N for a generated, −1/M for a data point."""
        n, m = self.q.shape[-2], self.pp.shape[-1]
        x1, y1 = self.z1[..., :n] / n, self.z1[..., n:] / -m
        by_x = _product(torch.cat((x1, y1), dim=-1), self.q.mT)
        by_y = _product(x1, self.q[..., n:]) + _product(y1, self.pp)
        scale = 2 * upstream[..., None, None]
        grad_x = _relative(by_x, self.z1[..., :n]) * (scale / n)
        return grad_x.mT, (_relative(by_y, self.z1[..., n:]) * (scale / -m)).mT


def _mixed(exponents: Tensor, bandwidths: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """mean_s k_s and h = mean_s k_s/σ_s² from the widest kernel's exponents: [..., N, M] each. Overwrites them."""
    if len(bandwidths) == 1:
        mean = exponents.exp_()
        return mean, mean / bandwidths[0] ** 2
    mean, weighted = torch.zeros_like(exponents), torch.zeros_like(exponents)
    for sigma, gram in _kernels(exponents, bandwidths):
        mean.add_(gram, alpha=1 / len(bandwidths))
        weighted.add_(gram, alpha=1 / (len(bandwidths) * sigma**2))
    return mean, weighted


def _kernels(exponents: Tensor, bandwidths: tuple[float, ...]) -> Iterator[tuple[float, Tensor]]:
    """Yields σ and kernel, [..., N, M], from the widest to the narrowest. Each may overwrite the one before it.

    Kernels come one at a time, because all together do not fit in the cache. A kernel of half the bandwidth is the
    fourth power of the wider one: two products take a fifth of the time of an exponential. The paper's mixture,
    σ = 1, 2, 4, 8, 16, needs one exponential.
    """
    widest, previous, gram = max(bandwidths), None, exponents
    for sigma in sorted(bandwidths, reverse=True):
        if previous is None:
            gram = exponents.exp()
        elif previous == 2 * sigma:
            gram.square_().square_()
        elif previous != sigma:
            gram = (exponents * (widest / sigma) ** 2).exp_()
        previous = sigma
        yield sigma, gram


@dataclass(frozen=True)
class _Ratios:
    """The terms of the gradient of the density ratios."""

    z1: Tensor  # [..., K + 1, N + M], as in `_Points`
    q: Tensor  # [..., S, N, N + M], kernels of x with all: K_qq and K_qp
    ratios: Tensor  # [..., S, N]
    precisions: Tensor  # [S], 1/σ²

    def gradients(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """With A = K_qq + εI, r = A⁻¹b, b = (N/M) K_qp 1, g = ∂L/∂r and v = A⁻¹g, both [..., S, N]:

        ∂L/∂K_qp = (N/M) v 1ᵀ and ∂L/∂K_qq = −v rᵀ. So with a = (−r, N/M) and v = (v, 0) over both sets
        ∂L/∂f_i = Σ_j (v_i a_j + a_i v_j) k_ij (f_j − f_i) / σ².
        """
        n, m = self.q.shape[-2], self.q.shape[-1] - self.q.shape[-2]
        z1, v = self.z1.unsqueeze(-3), (v * self.precisions.unsqueeze(-1)).unsqueeze(-2)
        a = torch.nn.functional.pad(-self.ratios, (0, m), value=n / m).unsqueeze(-2)
        of_a, of_v = (z1 * a) @ self.q.mT, (z1[..., :n] * v) @ self.q
        x, y = z1[..., :n], z1[..., n:]
        grad_x = v * _relative(of_a, x) + a[..., :n] * _relative(of_v[..., :n], x)
        return _over_bandwidths(grad_x).mT, _over_bandwidths(_relative(of_v[..., n:], y)).mT * (n / m)


def _stacked(exponents: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
    """All kernels, in the order of their bandwidths: [..., N, M] → [..., S, N, M]. Overwrites the exponents."""
    if len(bandwidths) == 1:
        return exponents.exp_().unsqueeze(-3)
    kernels = {sigma: gram.clone() for sigma, gram in _kernels(exponents, bandwidths)}
    return torch.stack([kernels[sigma] for sigma in bandwidths], dim=-3)


def _over_bandwidths(parts: Tensor) -> Tensor:
    """Σ_s: [..., S, K, N] → [..., K, N]; skipped for S = 1, where a sum would only copy."""
    return parts.squeeze(-3) if parts.shape[-3] == 1 else parts.sum(dim=-3)


def _relative(sums: Tensor, z1: Tensor) -> Tensor:
    """Σ_j w_ij (z_j − z_i) from Σ_j w_ij z_j and, in the last row, Σ_j w_ij: [..., K + 1, N] → [..., K, N]."""
    return sums[..., :-1, :] - z1[..., :-1, :] * sums[..., -1:, :]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for equal leading dimensions, without the six views that `@` makes of three dimensions."""
    return torch.bmm(a, b) if a.dim() == 3 else a @ b


class _MixtureMmd2(torch.autograd.Function):
    """See `mixture_mmd2`."""

    @staticmethod
    def forward(ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
        points = _points(f_q, f_p, bandwidths)
        (mean_q, h_q), (mean_pp, h_pp) = _mixed(points.q, bandwidths), _mixed(points.pp, bandwidths)
        ctx.save_for_backward(*(tensor.to(f_q.dtype) for tensor in (points.z1, h_q, h_pp)))
        n = f_q.shape[-2]
        return mmd2(mean_q[..., :n], mean_q[..., n:], mean_pp).to(f_q.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return *_Mixture(*ctx.saved_tensors).gradients(grads[0]), None


class _Mmd2AndRatios(torch.autograd.Function):
    """See `mmd2_and_ratios`."""

    @staticmethod
    def forward(
        ctx: Any, f_q: Tensor, f_p: Tensor, bandwidths: tuple[float, ...], ridge: float
    ) -> tuple[Tensor, Tensor]:
        n, m, points = f_q.shape[-2], f_p.shape[-2], _points(f_q, f_p, bandwidths)
        kernels, (mean_pp, h_pp) = _stacked(points.q, bandwidths), _mixed(points.pp, bandwidths)
        factor, info = _factorise(kernels[..., :n], ridge)
        ratios = factor.solve(kernels[..., n:].sum(dim=-1) * (n / m))
        ratios = ratios.masked_fill((info != 0).unsqueeze(-1), torch.nan)
        precisions = _precisions(bandwidths, kernels.dtype, kernels.device)
        h_q = _weighted_sum(precisions / len(bandwidths), kernels)
        saved = (points.z1, h_q, h_pp, kernels, ratios, precisions)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(tensor.to(f_q.dtype) for tensor in saved), *factor)
        squared = mmd2(kernels[..., :n], kernels[..., n:], mean_pp.unsqueeze(-3)).mean(dim=-1)
        return squared.to(f_q.dtype), ratios.to(f_q.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        z1, h_q, h_pp, kernels, ratios, precisions, *factor = ctx.saved_tensors
        of_mmd, of_ratios = grads
        parts = []
        if of_mmd is not None:
            parts.append(_Mixture(z1, h_q, h_pp).gradients(of_mmd))
        if of_ratios is not None:
            v = _Factor(*factor).solve(of_ratios.double()).to(z1.dtype)
            parts.append(_Ratios(z1, kernels, ratios, precisions).gradients(v))
        if len(parts) == 2:
            return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1], None, None
        return *(parts[0] if parts else (None, None)), None, None


@lru_cache(64)
def _precisions(bandwidths: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """1/σ², [S]. Cached: a copy to the GPU is slow, and not allowed in a CUDA graph."""
    return torch.tensor([1 / sigma**2 for sigma in bandwidths], dtype=dtype, device=device)


def _weighted_sum(weights: Tensor, grams: Tensor) -> Tensor:
    """Σ_s w_s k_s: [S], [..., S, N, M] → [..., N, M]."""
    if len(weights) == 1:
        return grams.squeeze(-3) * weights
    total: Tensor = (weights @ grams.flatten(-2)).unflatten(-1, grams.shape[-2:])
    return total


class _Factor(NamedTuple):
    """Factors of symmetric matrices [..., S, N, N]: Cholesky's factor (on a GPU its inverse), or LU with its pivots."""

    triangles: Tensor
    pivots: Tensor | None

    def solve(self, rhs: Tensor) -> Tensor:
        """A⁻¹ rhs: [..., S, N] → [..., S, N]."""
        if self.pivots is None:
            if rhs.is_cuda:
                return (self.triangles.mT @ (self.triangles @ rhs.unsqueeze(-1))).squeeze(-1)
            return torch.cholesky_solve(rhs.unsqueeze(-1), self.triangles).squeeze(-1)
        solution: Tensor = torch.linalg.lu_solve(self.triangles, self.pivots, rhs.unsqueeze(-1))
        return solution.squeeze(-1)


def _factorise(k_qq: Tensor, ridge: float) -> tuple[_Factor, Tensor]:
    """A factor of K_qq + εI and, per matrix, 0 or the index of the pivot that failed.

    Without a ridge it uses LU, like GRAMFlow's plain inverse. When features are close in few dimensions (on the ring
    from the first step), rounding makes an eigenvalue of K_qq negative; then Cholesky fails and LU does not.
    """
    if ridge == 0:
        triangles, pivots, info = torch.linalg.lu_factor_ex(k_qq)
        return _Factor(triangles, pivots), info
    ridged = k_qq.clone()
    ridged.diagonal(dim1=-2, dim2=-1).add_(ridge)
    triangles, info = torch.linalg.cholesky_ex(ridged)
    return _Factor(inverse_of_lower(triangles) if triangles.is_cuda else triangles, None), info
