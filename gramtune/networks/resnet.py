"""Residual networks of SN-GAN and SMMD (Miyato et al. 2018; Arbel et al. 2018), for 32×32 and 64×64 images."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from gramtune.components import Network, Shape, kind_of
from gramtune.networks._layers import Norm, Prior, draw_noise, initialise_glorot, map_norm
from gramtune.networks._spectral import Spectral, convolution, linear
from gramtune.registry import register


class Block(nn.Module):
    """x + f(x), where f is twice (norm, ReLU, 3×3 convolution); x passes a 1×1 convolution if the size changes.

    `up`: both paths are upsampled by 2 before their first convolution. `down`: both are averaged over 2×2 after their
    last convolution.
    """

    def __init__(
        self, fan_in: int, fan_out: int, *, norm: Norm, spectral: Spectral = "none", resize: Literal["up", "down", "no"]
    ) -> None:
        super().__init__()
        self.resize = resize
        self.before = nn.Sequential(*map_norm(norm, fan_in), nn.ReLU())
        self.first = convolution(spectral, fan_in, fan_out, 3, padding=1, bias=norm != "batch")
        self.between = nn.Sequential(*map_norm(norm, fan_out), nn.ReLU())
        self.second = convolution(spectral, fan_out, fan_out, 3, padding=1)
        changes = resize != "no" or fan_in != fan_out
        self.shortcut = convolution(spectral, fan_in, fan_out, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, S, S] → [B, C', S', S'], S' = 2S, S/2 or S."""
        inner = self.second(self.between(self.first(self._up(self.before(x)))))
        out: Tensor = self._down(inner + self.shortcut(self._up(x)))
        return out

    def _up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2) if self.resize == "up" else x

    def _down(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.resize == "down" else x


class SumOfEntries(nn.Module):
    """Σ over the entries of each map: [B, C, S, S] → [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.sum(dim=(2, 3))


@register
class Resnet(Network):
    """Generator: linear to a map of side 4 to 8, one residual block per doubling, tanh. Critic: one block per halving
    and one more.

    The critic ends in ReLU, the sum over each map, and a linear layer to K. The generator has BatchNorm.
    """

    name: Literal["resnet"] = "resnet"
    noise_dim: PositiveInt = 128
    """h, dimension of the noise."""
    prior: Prior = "normal"
    """Distribution of the noise: standard normal, or uniform on [−1, 1]."""
    width: PositiveInt = 64
    """Channels at full resolution and after the first halving; they double with each further one, up to 8 times."""
    norm: Norm = "none"
    """Normalisation in the critic. Gradient penalties need `layer` or `none`."""
    spectral: Spectral = "none"
    """Weights of the critic. `normalised`: W/‖W‖, as in SN-GAN; `learned_scale`: γ W/‖W‖, as in SN-SMMD."""

    def generator(self, shape: Shape) -> nn.Module:
        """See the class and `Network.generator`."""
        return self.decoder(shape, self.noise_dim)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """See the class and `Network.critic`."""
        widths, _ = self._widths(shape)
        layers: list[nn.Module] = [convolution(self.spectral, shape[0], widths[0], 3, padding=1)]
        for fan_in, fan_out in pairwise((widths[0], *widths)):
            layers.append(Block(fan_in, fan_out, norm=self.norm, spectral=self.spectral, resize="down"))
        layers.append(Block(widths[-1], widths[-1], norm=self.norm, spectral=self.spectral, resize="no"))
        return nn.Sequential(*layers, nn.ReLU(), SumOfEntries(), linear(self.spectral, widths[-1], output_dim))

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """The generator's layers, from K; see `Network.decoder`."""
        widths, side = self._widths(shape)
        layers: list[nn.Module] = [nn.Linear(input_dim, widths[-1] * side * side)]
        layers.append(nn.Unflatten(1, (widths[-1], side, side)))
        for fan_in, fan_out in pairwise((*reversed(widths), widths[0])):
            layers.append(Block(fan_in, fan_out, norm="batch", resize="up"))
        last = [nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.Conv2d(widths[0], shape[0], 3, padding=1), nn.Tanh()]
        return nn.Sequential(*layers, *last)

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """As in SN-GAN; see `initialise_glorot`."""
        initialise_glorot(module, rng)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)

    def _widths(self, shape: Shape) -> tuple[list[int], int]:
        """Channels after each halving, and the innermost side: 32×32 → ([w, 2w, 4w], 4)."""
        side, count = shape[-1], 0
        if kind_of(shape) != "image" or shape[1] != side:
            raise ValueError(f"network resnet needs square images (C, S, S), not samples of shape {tuple(shape)}")
        while side % 2 == 0 and side >= 8:
            side, count = side // 2, count + 1
        if count == 0 or side > 8:
            raise ValueError(f"network resnet cannot halve images of side {shape[1]} to a side of 4 to 8")
        return [self.width * min(2**i, 8) for i in range(count)], side
