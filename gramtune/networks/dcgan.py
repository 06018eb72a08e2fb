"""The paper's DCGAN pair (Tables 5 and 6), scaled by resolution."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape
from gramtune.registry import register


def stages(shape: Shape) -> tuple[int, int]:
    """Number of stride-2 stages and side of the innermost map: 8 → (1, 4), 28 → (2, 7), 32 → (3, 4), 64 → (4, 4).

    The side is halved while it is even and at least 8, so that the innermost map never falls below 4. Raises
    ValueError for anything but square images of side ≥ 8 whose innermost map is at most 8.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"network dcgan needs square images (C, S, S), not samples of shape {tuple(shape)}")
    side, count = shape[1], 0
    while side % 2 == 0 and side >= 8:
        side, count = side // 2, count + 1
    if count == 0 or side > 8:
        raise ValueError(f"network dcgan cannot halve images of side {shape[1]} down to a map of 4 to 8")
    return count, side


@register
class Dcgan(Network):
    """Critic: 4×4 stride-2 convolutions, leaky ReLU 0.2, then Linear to K. Generator: its mirror, ReLU, tanh.

    BatchNorm follows every convolution but the generator's last and the critic's first (Radford et al. 2015).
    """

    name: Literal["dcgan"] = "dcgan"
    noise_dim: PositiveInt = 128
    """h, dimension of the noise; uniform on [−1, 1]."""
    width: PositiveInt = 32
    """Channels after the critic's first convolution; they double with each stage."""

    def generator(self, shape: Shape) -> nn.Module:
        """Linear h → s·s·C, then one transposed convolution per stage; see `Network.generator`."""
        count, side = stages(shape)
        channels = [self.width * 2**i for i in reversed(range(count))] + [shape[0]]
        layers: list[nn.Module] = [
            nn.Linear(self.noise_dim, channels[0] * side * side),
            nn.Unflatten(1, (channels[0], side, side)),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        ]
        for i in range(count):
            layers.append(nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(channels[i + 1]), nn.ReLU()] if i < count - 1 else [nn.Tanh()]
        return nn.Sequential(*layers)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """One convolution per stage, flatten, Linear to K; see `Network.critic`."""
        count, side = stages(shape)
        channels = [shape[0]] + [self.width * 2**i for i in range(count)]
        layers: list[nn.Module] = []
        for i in range(count):
            layers.append(nn.Conv2d(channels[i], channels[i + 1], 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(channels[i + 1])] if i else []
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side * side, output_dim))

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """Weights N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0 (Radford et al. 2015; Li et al. 2017)."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, 0.02, generator=rng)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                nn.init.normal_(layer.weight, 1.0, 0.02, generator=rng)
                nn.init.zeros_(layer.bias)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Uniform on [−1, 1]: [n, h]."""
        return torch.rand(n, self.noise_dim, generator=rng, device=rng.device) * 2 - 1
