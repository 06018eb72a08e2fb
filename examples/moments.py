"""An objective, a network and a data set of one's own, in one file outside the package.

gramtune sweep examples/moments.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Dataset, Losses, Network, Objective, Shape, View
from gramtune.registry import register


@register
class Moments(Objective):
    """Matches mean and covariance of the samples: no critic. ‖mean y − mean x‖² + weight · ‖cov y − cov x‖²_F."""

    name: Literal["moments"] = "moments"
    weight: float = 1.0
    """Weight of the covariance term."""

    def critic(self) -> None:
        """Returns None: no critic is needed."""
        return

    def losses(self, real: View, fake: View) -> Losses:
        """One value per replicate, [R], from samples [R, B, D]."""
        mean = (fake.samples.mean(dim=-2) - real.samples.mean(dim=-2)).square().sum(dim=-1)
        covariance = (_covariance(fake.samples) - _covariance(real.samples)).square().sum(dim=(-2, -1))
        return Losses(critic=None, generator=mean + self.weight * covariance, traces={"mean_gap": mean})


def _covariance(samples: Tensor) -> Tensor:
    centred = samples - samples.mean(dim=-2, keepdim=True)
    return centred.mT @ centred / samples.shape[-2]


@register
class Tanh(Network):
    """A generator for points with one hidden layer of tanh units; the critic is a line."""

    name: Literal["tanh"] = "tanh"
    noise_dim: PositiveInt = 2
    hidden: PositiveInt = 32

    def generator(self, shape: Shape) -> nn.Module:
        """[B, noise_dim] → [B, d]."""
        return nn.Sequential(nn.Linear(self.noise_dim, self.hidden), nn.Tanh(), nn.Linear(self.hidden, shape[0]))

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """[B, d] → [B, output_dim]."""
        return nn.Linear(shape[0], output_dim)

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """Normal weights with variance 1 / fan-in; biases 0."""
        for parameter in module.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=rng)
            else:
                nn.init.zeros_(parameter)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Standard normal, [n, noise_dim]."""
        return torch.randn(n, self.noise_dim, generator=rng, device=rng.device)


@register
class Arc(Dataset):
    """Points on half a circle of radius 1, with noise."""

    name: Literal["arc"] = "arc"
    std: float = 0.05

    @property
    def shape(self) -> Shape:
        """(2,)."""
        return (2,)

    def fingerprint(self, root: Path) -> str:
        """Of the fields: the points are drawn from a fixed seed."""
        return f"arc-{self.std}"

    def train(self, root: Path) -> Tensor:
        """float32 [2000, 2]."""
        return self._draw(seed=0)

    def held_out(self, root: Path) -> Tensor:
        """float32 [2000, 2]."""
        return self._draw(seed=1)

    def _draw(self, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        angle = torch.pi * torch.rand(2000, generator=rng)
        points = torch.stack((angle.cos(), angle.sin()), dim=1)
        return points + self.std * torch.randn(2000, 2, generator=rng)
