"""The paper's DCGAN pair (Tables 5, 6 and 7), with a depth that depends on the resolution."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape, kind_of
from gramtune.networks._layers import Norm, Prior, draw_noise, initialise_normal, map_norm
from gramtune.networks._spectral import Spectral, convolution, linear
from gramtune.registry import register


def stages(shape: Shape) -> tuple[int, int]:
    """Number of stride-2 stages and side of the innermost map: 8 → (1, 4), 28 → (2, 7), 32 → (3, 4), 64 → (4, 4).

    The side is halved while it is even and at least 8, so the innermost side is at least 4. Raises ValueError unless
    the images are square, of side ≥ 8, with an innermost side of at most 8.
    """
    if kind_of(shape) != "image" or shape[1] != shape[2]:
        raise ValueError(f"network dcgan needs square images (C, S, S), not samples of shape {tuple(shape)}")
    side, count = shape[1], 0
    while side % 2 == 0 and side >= 8:
        side, count = side // 2, count + 1
    if count == 0 or side > 8:
        raise ValueError(f"network dcgan cannot halve images of side {shape[1]} to a side of 4 to 8")
    return count, side


@register
class Dcgan(Network):
    """Critic: stride-2 convolutions, leaky ReLU 0.2, then Linear to K. Generator: its mirror, ReLU, tanh.

    BatchNorm follows every convolution except the generator's last and the critic's first (Radford et al. 2015).
    `norm` selects another normalisation for the critic, or none. A convolution before BatchNorm has no bias, because
    BatchNorm would remove it.
    """

    name: Literal["dcgan"] = "dcgan"
    noise_dim: PositiveInt = 128
    """h, dimension of the noise."""
    prior: Prior = "uniform"
    """Distribution of the noise: standard normal, or uniform on [−1, 1]."""
    width: PositiveInt = 32
    """Channels after the critic's first convolution; they double with each stage."""
    critic_kind: Literal["standard", "weak"] = "standard"
    """`standard`: Table 6, channels 32, 64, 128; `weak`: Table 7, channels 32, 32, 64. A weak critic has half the
    channels after every convolution except the first; with a single convolution (8×8 images), after that one."""
    norm: Norm = "batch"
    """Normalisation in the critic. Gradient penalties need `layer` or `none`."""
    spectral: Spectral = "none"
    """Weights of the critic. `normalised`: W/‖W‖, as in SN-GAN; `learned_scale`: γ W/‖W‖, as in SN-SMMD."""

    kernel: Literal[4, 5] = 4
    """Side of the convolutions' kernels: 4 in Tables 5 to 7, 5 in GRAMFlow."""

    def generator(self, shape: Shape) -> nn.Module:
        """Linear h → s·s·C, then one transposed convolution per stage; see `Network.generator`."""
        return self._upsampling(self.noise_dim, self._channels(shape), shape)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """One convolution per stage, flatten, Linear to K; see `Network.critic`."""
        _, side = stages(shape)
        channels = self._critic_channels(shape)
        layers: list[nn.Module] = []
        for i, (channels_in, channels_out) in enumerate(pairwise((shape[0], *channels))):
            padding, bias = (self.kernel - 1) // 2, i == 0 or self.norm != "batch"
            layers.append(
                convolution(self.spectral, channels_in, channels_out, self.kernel, stride=2, padding=padding, bias=bias)
            )
            layers += map_norm(self.norm, channels_out) if i else []
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers, nn.Flatten(), linear(self.spectral, channels[-1] * side * side, output_dim))

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """The critic's mirror, made like the generator; see `Network.decoder`."""
        return self._upsampling(input_dim, self._critic_channels(shape), shape)

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """As Radford et al. (2015); see `initialise_normal`."""
        initialise_normal(module, rng)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)

    def _channels(self, shape: Shape) -> list[int]:
        """Channels after each stage of the standard critic, from the image inwards."""
        count, _ = stages(shape)
        return [self.width * 2**i for i in range(count)]

    def _critic_channels(self, shape: Shape) -> list[int]:
        channels = self._channels(shape)
        if self.critic_kind == "standard":
            return channels
        kept = 1 if len(channels) > 1 else 0
        return channels[:kept] + [max(1, c // 2) for c in channels[kept:]]

    def _upsampling(self, input_dim: int, channels: list[int], shape: Shape) -> nn.Module:
        """[B, input_dim] → [B, *shape] through maps of these channels, listed from the image inwards."""
        _, side = stages(shape)
        layers: list[nn.Module] = [
            nn.Linear(input_dim, channels[-1] * side * side),
            nn.Unflatten(1, (channels[-1], side, side)),
        ]
        for i, (channels_in, channels_out) in reversed(list(enumerate(pairwise((shape[0], *channels))))):
            layers += [nn.BatchNorm2d(channels_out), nn.ReLU()]
            padding, odd = (self.kernel - 1) // 2, self.kernel % 2
            layers.append(
                nn.ConvTranspose2d(channels_out, channels_in, self.kernel, 2, padding, output_padding=odd, bias=i == 0)
            )
        return nn.Sequential(*layers, nn.Tanh())
