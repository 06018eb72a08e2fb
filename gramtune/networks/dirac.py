"""The networks of the Dirac-GAN (Mescheder et al. 2018), with one parameter each."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape
from gramtune.networks._layers import Prior, draw_noise
from gramtune.registry import register


class Point(nn.Module):
    """Outputs its parameter θ for any noise."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.empty(1))

    def forward(self, noise: Tensor) -> Tensor:
        """[B, h] → [B, 1]."""
        return self.theta.expand(len(noise), 1)


@register
class DiracPair(Network):
    """Generator G(z) = θ and critic φ(x) = ψ x, with θ ∈ R and ψ ∈ R^K, for samples in R."""

    name: Literal["dirac"] = "dirac"
    noise_dim: PositiveInt = 1
    """h, dimension of the noise, which the generator ignores."""
    prior: Prior = "normal"
    """Distribution of the noise."""
    theta: float = 1.0
    """Initial value of θ."""
    psi: float = 1.0
    """Initial value of each entry of ψ."""
    spread: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the normal noise added to both initial values; with 0 all replicates are equal."""

    def generator(self, shape: Shape) -> nn.Module:
        """See the class and `Network.generator`."""
        _on_the_line(shape)
        return Point()

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """See the class and `Network.critic`."""
        _on_the_line(shape)
        return nn.Linear(1, output_dim, bias=False)

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """`theta` or `psi`, with noise of `spread`."""
        with torch.no_grad():
            for part in module.modules():
                for parameter in part.parameters(recurse=False):
                    start = self.theta if isinstance(part, Point) else self.psi
                    parameter.copy_(start + self.spread * torch.randn(parameter.shape, generator=rng))

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)


def _on_the_line(shape: Shape) -> None:
    if shape != (1,):
        raise ValueError(f"network dirac needs samples of shape (1,), not {tuple(shape)}; use data.name = dirac")
