"""The paper's MNIST pair: a multilayer perceptron and a convolutional critic (appendix A.3, Table 3)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape, kind_of
from gramtune.networks._layers import Norm, Prior, Widths, draw_noise, initialise_glorot, map_norm, perceptron_to_sample
from gramtune.networks._spectral import Spectral, convolution, linear
from gramtune.registry import register


@register
class MnistConv(Network):
    """Generator: perceptron 100-600-600-800-784. Critic: three blocks of 3×3 convolution, BatchNorm, ReLU, max-pooling.

    The generator ends in tanh instead of the paper's sigmoid, because images are in [−1, 1] here and in [0, 1] in the
    paper; tanh(a) = 2·sigmoid(2a) − 1. The paper has no decoder for this network; ours has the generator's layers.
    """

    name: Literal["mnist_conv"] = "mnist_conv"
    noise_dim: PositiveInt = 100
    """h, dimension of the noise."""
    prior: Prior = "uniform"
    """Distribution of the noise: standard normal, or uniform on [−1, 1]."""
    hidden: Widths = (600, 600, 800)
    """Widths of the generator's hidden layers."""
    critic_channels: Widths = (16, 32, 32)
    """Channels after each of the critic's convolutions."""
    norm: Norm = "batch"
    """Normalisation in the critic. Gradient penalties need `layer` or `none`."""
    spectral: Spectral = "none"
    """Weights of the critic. `normalised`: W/‖W‖, as in SN-GAN; `learned_scale`: γ W/‖W‖, as in SN-SMMD."""

    generator_norm: Literal["batch", "none"] = "batch"
    """`batch`: BatchNorm before each ReLU of the generator, as in the submission's code; the paper's text has none."""

    def generator(self, shape: Shape) -> nn.Module:
        """ReLU between layers, tanh last; see `Network.generator`."""
        self._innermost(shape)
        return perceptron_to_sample(self.noise_dim, self.hidden, shape, batch_norm=self.generator_norm == "batch")

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """The generator's layers, from K; see `Network.decoder`."""
        self._innermost(shape)
        return perceptron_to_sample(input_dim, self.hidden, shape, batch_norm=self.generator_norm == "batch")

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """Convolutions, flatten (28×28: to 288), Linear to K; see `Network.critic`."""
        height, width = self._innermost(shape)
        layers: list[nn.Module] = []
        for channels_in, channels_out in pairwise((shape[0], *self.critic_channels)):
            bias = self.norm != "batch"
            layers.append(convolution(self.spectral, channels_in, channels_out, 3, padding=1, bias=bias))
            layers += map_norm(self.norm, channels_out)
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        features = self.critic_channels[-1] * height * width
        return nn.Sequential(*layers, nn.Flatten(), linear(self.spectral, features, output_dim))

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """As in the authors' Julia code; see `initialise_glorot`."""
        initialise_glorot(module, rng)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)

    def _innermost(self, shape: Shape) -> tuple[int, int]:
        """Height and width after the last pooling, which drops an odd last row: (1, 28, 28) → (3, 3)."""
        least = 2 ** len(self.critic_channels)
        if kind_of(shape) != "image" or min(shape[1:]) < least:
            raise ValueError(
                f"network mnist_conv needs images (C, H, W) of at least {least}×{least}, to be halved "
                f"{len(self.critic_channels)} times, not samples of shape {tuple(shape)}"
            )
        return shape[1] // least, shape[2] // least
