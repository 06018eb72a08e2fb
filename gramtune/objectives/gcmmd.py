"""Gradient-controlled MMD (Arbel et al. 2018), computed exactly, for small batches; scaled MMD is its lower bound."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from gramtune.components import Context, CriticSpec, Losses, Network, Shape, View
from gramtune.objectives._adversarial import Alternating, features
from gramtune.registry import register
from gramtune.stats.gradients import jacobian
from gramtune.stats.kernels import Gaussian, kernel_mmd2

_MAX_DIM = 10


@register
class Gcmmd(Alternating):
    """Critic, minimised over θ: −GCMMD². Generator, minimised over γ: GCMMD², of the features φ.

    GCMMD is the largest mean f(x) − mean f(y) of functions f = g∘φ, g in the RKHS of a Gaussian kernel, with
    E f(x)² + E‖∇f(x)‖² + λ‖g‖²_H ≤ 1 over the M data. With A f = (f(x_m), ∂_i f(x_m))/√M and h the difference of mean
    embeddings, GCMMD² = (‖h‖² − ⟨Ah, (λI + AA*)^−1 Ah⟩)/λ: O((M(1 + D))³) per step. For data of few dimensions.
    The critic must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["gcmmd"] = "gcmmd"
    critic_dim: PositiveInt = 1
    """K, dimension of φ."""
    bandwidth: PositiveFloat = 1.0
    """s of the Gaussian kernel."""
    ridge: Annotated[float, Field(gt=0)] = 1.0
    """λ."""

    def critic(self) -> CriticSpec:
        """K features."""
        return CriticSpec(self.critic_dim)

    def networks(self, network: Network, shape: Shape) -> dict[str, nn.Module]:
        """See `Objective.networks`. Raises ValueError for data of too many dimensions."""
        if (dim := math.prod(shape)) > _MAX_DIM:
            raise ValueError(f"objective gcmmd needs data of at most {_MAX_DIM} dimensions, not {dim}; try smmd_gan")
        return super().networks(network, shape)

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        slopes = jacobian(context.critic, real.samples, create_graph=context.for_critic)
        squared_mmd = kernel_mmd2(Gaussian(self.bandwidth), features(fake), features(real), unbiased=False)
        x, y, j = features(real).double(), features(fake).double(), slopes.double()
        gram, targets = self._operator(x, j), self._difference(x, y, j)
        ridged = gram + self.ridge * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        factor, _ = torch.linalg.cholesky_ex(ridged)
        solved = torch.cholesky_solve(targets.unsqueeze(-1), factor).squeeze(-1)
        explained = (targets * solved).sum(dim=-1).to(squared_mmd.dtype)
        squared = (squared_mmd - explained) / self.ridge
        return Losses(-squared, squared, {"gcmmd2": squared, "mmd2": squared_mmd})

    def _difference(self, x: Tensor, y: Tensor, slopes: Tensor) -> Tensor:
        """A h: the witness and its gradient at the data, divided by √M: [..., M(1 + D)]."""
        (values_x, toward_x), (values_y, toward_y) = (self._derivatives(x, side) for side in (x, y))
        value = values_x.mean(dim=-1) - values_y.mean(dim=-1)
        by_features = toward_x.mean(dim=-2) - toward_y.mean(dim=-2)  # [..., M, K]
        by_samples = (by_features.unsqueeze(-1) * slopes).sum(dim=-2)
        found: Tensor = torch.cat((value, by_samples.flatten(-2)), dim=-1) / x.shape[-2] ** 0.5
        return found

    def _operator(self, x: Tensor, slopes: Tensor) -> Tensor:
        """A A*: kernel values and derivatives between data points, divided by M: [..., M(1 + D), M(1 + D)]."""
        k, _ = self._derivatives(x, x)
        difference, s2 = x.unsqueeze(-2) - x.unsqueeze(-3), self.bandwidth**2
        first, second = slopes.unsqueeze(-3), slopes.unsqueeze(-4)  # of x_m and of x_n: [..., M, M, K, D] each
        u = (difference.unsqueeze(-1) * first).sum(dim=-2) / s2
        v = (difference.unsqueeze(-1) * second).sum(dim=-2) / s2
        inner = (first.unsqueeze(-1) * second.unsqueeze(-2)).sum(dim=-3) / s2
        by_both = k[..., None, None] * (inner - u.unsqueeze(-1) * v.unsqueeze(-2))
        by_first, by_second = -k.unsqueeze(-1) * u, k.unsqueeze(-1) * v
        values = torch.cat((k, by_second.flatten(-2)), dim=-1)
        left = by_first.transpose(-2, -1).flatten(-3, -2)
        right = by_both.transpose(-3, -2).flatten(-2).flatten(-3, -2)
        found: Tensor = torch.cat((values, torch.cat((left, right), dim=-1)), dim=-2) / x.shape[-2]
        return found

    def _derivatives(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """k(x_m, o_n), [..., M, N], and its derivative by φ(x_m), [..., M, N, K]."""
        difference = x.unsqueeze(-2) - other.unsqueeze(-3)
        k = (difference.square().sum(dim=-1) * (-0.5 / self.bandwidth**2)).exp()
        return k, -difference * k.unsqueeze(-1) / self.bandwidth**2
