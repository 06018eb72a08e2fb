"""The fully convolutional pair of MMD-GAN's authors (Li et al. 2017; the paper's Table 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape, kind_of
from gramtune.networks._layers import Norm, Prior, draw_noise, initialise_normal, map_norm
from gramtune.networks._spectral import Spectral, convolution
from gramtune.registry import register


@register
class FullConv(Network):
    """Critic: 4×4 stride-2 convolutions to a 4×4 map, leaky ReLU 0.2, then a 4×4 convolution without padding to K.

    Generator and decoder: its mirror, ReLU, tanh. BatchNorm follows every convolution except the critic's first and
    each network's last. No convolution has a bias.
    """

    name: Literal["full_conv"] = "full_conv"
    noise_dim: PositiveInt = 128
    """h, dimension of the noise; Li et al. use 128 on CIFAR-10 and 64 on CelebA, the same as K."""
    prior: Prior = "normal"
    """Distribution of the noise: standard normal, or uniform on [−1, 1]."""
    width: PositiveInt = 64
    """Channels after the critic's first convolution; they double with each further one."""
    norm: Norm = "batch"
    """Normalisation in the critic. Gradient penalties need `layer` or `none`."""
    spectral: Spectral = "none"
    """Weights of the critic. `normalised`: W/‖W‖, as in SN-GAN; `learned_scale`: γ W/‖W‖, as in SN-SMMD."""

    def generator(self, shape: Shape) -> nn.Module:
        """The generator, from h; see `Network.generator`."""
        return self.decoder(shape, self.noise_dim)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """The encoder; see `Network.critic`."""
        channels = self._channels(shape)
        layers: list[nn.Module] = []
        for i, (channels_in, channels_out) in enumerate(pairwise((shape[0], *channels))):
            layers.append(convolution(self.spectral, channels_in, channels_out, 4, stride=2, padding=1, bias=False))
            layers += map_norm(self.norm, channels_out) if i else []
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers, convolution(self.spectral, channels[-1], output_dim, 4, bias=False), nn.Flatten())

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """The critic's mirror; see `Network.decoder`."""
        channels = self._channels(shape)[::-1]
        layers: list[nn.Module] = [
            nn.Unflatten(1, (input_dim, 1, 1)),
            nn.ConvTranspose2d(input_dim, channels[0], 4, bias=False),
        ]
        for channels_in, channels_out in pairwise((*channels, shape[0])):
            layers += [nn.BatchNorm2d(channels_in), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False))
        return nn.Sequential(*layers, nn.Tanh())

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """As in the code of Li et al.; see `initialise_normal`."""
        initialise_normal(module, rng)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)

    def _channels(self, shape: Shape) -> tuple[int, ...]:
        """Channels after each stride-2 convolution, one per halving down to 4×4: 32×32 → (64, 128, 256)."""
        side = shape[-1]
        if kind_of(shape) != "image" or shape[1] != side or side < 8 or side & (side - 1):
            raise ValueError(
                "network full_conv needs square images (C, S, S), S a power of two from 8 on, "
                f"not samples of shape {tuple(shape)}"
            )
        return tuple(self.width * 2**i for i in range(side.bit_length() - 3))
