"""The paper's multilayer perceptrons (ring experiments, Fig. 1, 2 and 6)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gramtune.components import Network, Shape
from gramtune.networks._layers import (
    Norm,
    Prior,
    Widths,
    draw_noise,
    initialise_glorot,
    perceptron,
    perceptron_to_sample,
)
from gramtune.networks._spectral import Spectral
from gramtune.registry import register


@register
class Mlp(Network):
    """Generator h → hidden → sample and critic sample → hidden → K, ReLU between layers, no BatchNorm by default.

    The defaults are the pair of the ring experiments. `noise_dim: 100`, `hidden: [600, 600, 800]`, `prior: uniform`
    give the generator of the MNIST experiment (appendix A.3).
    """

    name: Literal["mlp"] = "mlp"
    noise_dim: PositiveInt = 2
    """h, dimension of the noise."""
    prior: Prior = "normal"
    """Distribution of the noise: standard normal, or uniform on [−1, 1]."""
    hidden: Widths = (100, 100)
    """Widths of the generator's hidden layers."""
    critic_hidden: Widths = (100, 100)
    """Widths of the critic's hidden layers; a decoder has them in reverse."""
    norm: Norm = "none"
    """Normalisation in the critic. Gradient penalties need `layer` or `none`."""
    spectral: Spectral = "none"
    """Weights of the critic. `normalised`: W/‖W‖, as in SN-GAN; `learned_scale`: γ W/‖W‖, as in SN-SMMD."""

    def generator(self, shape: Shape) -> nn.Module:
        """Linear last layer for points, tanh for images; see `Network.generator`."""
        return perceptron_to_sample(self.noise_dim, self.hidden, shape)

    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """Linear last layer; see `Network.critic`."""
        widths = (math.prod(shape), *self.critic_hidden, output_dim)
        return nn.Sequential(nn.Flatten(), *perceptron(*widths, norm=self.norm, spectral=self.spectral))

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """The critic's mirror, with the generator's last layer; see `Network.decoder`."""
        return perceptron_to_sample(input_dim, self.critic_hidden[::-1], shape)

    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """As in the authors' Julia code; see `initialise_glorot`."""
        initialise_glorot(module, rng)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws from `prior`: [n, h]."""
        return draw_noise(self.prior, n, self.noise_dim, rng)
