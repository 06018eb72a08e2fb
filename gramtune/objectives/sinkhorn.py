"""Sinkhorn divergence (Genevay et al. 2018): entropic optimal transport between samples or between critic features."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, Objective, View
from gramtune.registry import register
from gramtune.stats.kernels import squared_distances


@register
class Sinkhorn(Objective):
    """Generator, minimised over γ: S = 2 W_ε(x, y) − W_ε(x, x) − W_ε(y, y). A critic, if used, maximises S.

    W_ε = min_P ⟨P, C⟩ + ε KL(P ‖ a⊗b), C = ‖·−·‖², uniform weights a and b. `iterations` of Sinkhorn's algorithm in
    the log domain, in float64; the gradient is that of the fixed point, ⟨P, ∂C⟩, and not of the iterations.
    """

    joint: ClassVar[bool] = False
    name: Literal["sinkhorn"] = "sinkhorn"
    critic_dim: PositiveInt | None = None
    """K, dimension of the critic's features; null for none: transport in data space."""
    regularisation: PositiveFloat = 0.1
    """ε, the entropic regularisation, in units of the squared distance."""
    iterations: PositiveInt = 50
    """Iterations of Sinkhorn's algorithm per pair of minibatches."""
    critic_iterations: PositiveInt = 5
    """Critic steps per generator step; no effect without a critic."""

    def critic(self) -> CriticSpec | None:
        """A critic with K features, or None."""
        return None if self.critic_dim is None else CriticSpec(self.critic_dim)

    def critic_steps(self, generator_step: int) -> int:
        """`critic_iterations`; 0 without a critic."""
        return 0 if self.critic_dim is None else self.critic_iterations

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """See the class and `Objective.losses`."""
        sides = (real.samples, fake.samples) if self.critic_dim is None else (real.features, fake.features)
        x, y = (side.double() for side in sides if side is not None)
        between = 2 * self._transport(squared_distances(x, y))
        divergence = between - sum(self._transport(_among(side), symmetric=True) for side in (x, y))
        divergence = divergence.to(fake.samples.dtype)
        critic = None if self.critic_dim is None else -divergence
        return Losses(critic, divergence, {"sinkhorn_divergence": divergence})

    def _transport(self, cost: Tensor, *, symmetric: bool = False) -> Tensor:
        """W_ε of costs [..., N, M]: [...]. Its gradient with respect to the costs is the transport plan."""
        plan, value = self._solve(cost.detach(), symmetric=symmetric)
        moved = (plan * cost).sum(dim=(-2, -1))
        return value + (moved - moved.detach())

    @torch.no_grad()
    def _solve(self, cost: Tensor, *, symmetric: bool) -> tuple[Tensor, Tensor]:
        """The plan and W_ε from the dual potentials f and g. The last update of g makes the columns sum to 1/M."""
        n, m, eps = cost.shape[-2], cost.shape[-1], self.regularisation
        scaled = -cost / eps
        f, g = torch.zeros_like(cost[..., 0]), torch.zeros_like(cost[..., 0, :])
        for _ in range(self.iterations):
            if symmetric:  # f = g; the mean of two updates converges at once
                f = g = (g - _log_mean_exp(scaled + g.unsqueeze(-2), dim=-1)) / 2
            else:
                f = -_log_mean_exp(scaled + g.unsqueeze(-2), dim=-1)
                g = -_log_mean_exp(scaled + f.unsqueeze(-1), dim=-2)
        plan = (scaled + f.unsqueeze(-1) + g.unsqueeze(-2)).exp() / (n * m)
        return plan, eps * (f.mean(dim=-1) + g.mean(dim=-1) + 1 - plan.sum(dim=(-2, -1)))


def _log_mean_exp(x: Tensor, dim: int) -> Tensor:
    return torch.logsumexp(x, dim=dim) - math.log(x.shape[dim])


def _among(x: Tensor) -> Tensor:
    """Squared distances within a set, exactly 0 on the diagonal."""
    off = ~torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)
    return squared_distances(x, x) * off
