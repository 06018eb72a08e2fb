"""Kernels on feature vectors as objects, and the MMD² with any kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gramtune.stats.rounding import product


class Kernel(ABC):
    """k(a, b) for vectors of R^K. The sum or mean of kernels is a kernel: `KernelSum`."""

    @abstractmethod
    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """[..., N, K], [..., M, K] → [..., N, M]; can be differentiated twice."""

    @abstractmethod
    def diagonal(self, a: Tensor) -> Tensor:
        """k(a, a): [..., N, K] → [..., N]."""

    @property
    @abstractmethod
    def curvature(self) -> float:
        """c with ∂_{a_i} ∂_{b_j} k(a, b) = c·δ_ij at b = a. Raises ValueError if it is infinite."""


@dataclass(frozen=True)
class Gaussian(Kernel):
    """exp(−‖a − b‖²/2σ²)."""

    bandwidth: float

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Kernel.gram`."""
        return (squared_distances(a, b) * (-0.5 / self.bandwidth**2)).exp()

    def diagonal(self, a: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(a[..., 0])

    @property
    def curvature(self) -> float:
        """1/σ²."""
        return 1 / self.bandwidth**2


@dataclass(frozen=True)
class RationalQuadratic(Kernel):
    """(1 + ‖a − b‖²/2α)^−α."""

    alpha: float

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Kernel.gram`."""
        return ((squared_distances(a, b) * (0.5 / self.alpha)).log1p() * -self.alpha).exp()

    def diagonal(self, a: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(a[..., 0])

    @property
    def curvature(self) -> float:
        """See `Kernel.curvature`: 1 for every α."""
        return 1.0


@dataclass(frozen=True)
class Linear(Kernel):
    """aᵀb: MMD² is the squared distance of the means."""

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Kernel.gram`."""
        return product(a, b.mT)

    def diagonal(self, a: Tensor) -> Tensor:
        """‖a‖²."""
        return a.square().sum(dim=-1)

    @property
    def curvature(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Distance(Kernel):
    """(‖a‖ + ‖b‖ − ‖a − b‖)/2: 2·MMD² is the energy distance (Sejdinovic et al. 2013)."""

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Kernel.gram`. Pairs closer than 1e-6 of their norms are treated as one point, with zero gradient."""
        squared = squared_distances(a, b)
        scale = a.square().sum(dim=-1).unsqueeze(-1) + b.square().sum(dim=-1).unsqueeze(-2)
        apart = squared > 1e-12 * scale
        between = torch.where(apart, squared, 1).sqrt().where(apart, 0)
        return (self.diagonal(a).unsqueeze(-1) + self.diagonal(b).unsqueeze(-2) - between) / 2

    def diagonal(self, a: Tensor) -> Tensor:
        """‖a‖, with the gradient 0 at 0."""
        return a.square().sum(dim=-1).clamp_min(1e-24).sqrt()

    @property
    def curvature(self) -> float:
        """Infinite."""
        raise ValueError("the distance kernel has no derivative at a = b")


@dataclass(frozen=True)
class KernelSum(Kernel):
    """Σ_s k_s, times `scale`."""

    kernels: tuple[Kernel, ...]
    scale: float = 1.0

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Kernel.gram`."""
        return torch.stack([kernel.gram(a, b) for kernel in self.kernels]).sum(dim=0) * self.scale

    def diagonal(self, a: Tensor) -> Tensor:
        """The sum of the diagonals."""
        return torch.stack([kernel.diagonal(a) for kernel in self.kernels]).sum(dim=0) * self.scale

    @property
    def curvature(self) -> float:
        """The sum of the curvatures."""
        return sum(kernel.curvature for kernel in self.kernels) * self.scale


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖²: [..., N, K], [..., M, K] → [..., N, M].

    Computed as ‖a‖² + ‖b‖² − 2aᵀb of centred vectors. Pass float64: the subtraction loses digits.
    """
    centre = b.mean(dim=-2, keepdim=True).detach()
    a, b = a - centre, b - centre
    squares = a.square().sum(dim=-1).unsqueeze(-1) + b.square().sum(dim=-1).unsqueeze(-2)
    found = squares - 2 * product(a, b.mT)
    return found + (-found.detach()).clamp_min(0)  # at least 0; derivatives are those of `found`


def kernel_mmd2(kernel: Kernel, f_q: Tensor, f_p: Tensor, *, unbiased: bool) -> Tensor:
    """MMD² between [..., N, K] and [..., M, K] → [...], computed in float64.

    Biased: the V-statistic. Unbiased: without the diagonals of K_qq and K_pp; it may be negative.
    """
    q, p = f_q.double(), f_p.double()
    sides = [_self_mean(kernel, side, unbiased) for side in (q, p)]
    return (sides[0] - 2 * kernel.gram(q, p).mean(dim=(-2, -1)) + sides[1]).to(f_q.dtype)


def _self_mean(kernel: Kernel, x: Tensor, unbiased: bool) -> Tensor:
    gram, n = kernel.gram(x, x), x.shape[-2]
    if not unbiased:
        return gram.mean(dim=(-2, -1))
    off = ~torch.eye(n, dtype=torch.bool, device=x.device)
    return (gram * off).sum(dim=(-2, -1)) / (n * (n - 1))
