"""The paper's multilayer perceptrons (ring experiments, Fig. 1, 2 and 6)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape
from gramtune.registry import register

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]


@register
class Mlp(Network):
    """Generator h → hidden → sample and critic sample → hidden → K, ReLU between layers, no BatchNorm."""

    name: Literal["mlp"] = "mlp"
    noise_dim: PositiveInt = 2
    """h, dimension of the noise; standard normal."""
    hidden: Widths = (100, 100)
    """Widths of the generator's hidden layers."""
    critic_hidden: Widths = (100, 100)
    """Widths of the critic's hidden layers."""

    def generator(self, shape: Shape) -> nn.Module:
        """Linear last layer for points, tanh for images; see `Network.generator`."""
        tail = [nn.Tanh(), nn.Unflatten(1, shape)] if len(shape) == 3 else []
        return nn.Sequential(*_layers((self.noise_dim, *self.hidden, math.prod(shape))), *tail)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """Linear last layer; see `Network.critic`."""
        return nn.Sequential(nn.Flatten(), *_layers((math.prod(shape), *self.critic_hidden, output_dim)))

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """Weights U(±√(6/(fan_in + fan_out))) (Glorot & Bengio 2010, as in the authors' Julia code), biases 0."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=rng)
                nn.init.zeros_(layer.bias)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Standard normal: [n, h]."""
        return torch.randn(n, self.noise_dim, generator=rng, device=rng.device)


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return layers[:-1]
