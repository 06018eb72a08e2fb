"""Layers that divide their weight by its largest singular value, found by power iteration (Miyato et al. 2018)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gramtune.stats.rounding import product

Spectral = Literal["none", "normalised", "learned_scale"]
"""The weight used for each W in the critic: W, W/‖W‖, or γ W/‖W‖ with a learned γ (spectral parametrisation)."""


class _SpectralLayer(nn.Module):
    """Adds the state of the power iteration, and γ, to a layer with a weight [out, …]."""

    weight: Tensor
    left: Tensor
    right: Tensor
    scale: nn.Parameter | None

    def add_state(self, *, learned_scale: bool) -> None:
        """Adds uninitialised singular vectors, [out] and [fan-in], and γ, [1]."""
        rows, columns = self.weight.shape[0], self.weight[0].numel()
        self.register_buffer("left", torch.empty(rows))
        self.register_buffer("right", torch.empty(columns))
        self.register_parameter("scale", nn.Parameter(torch.empty(1)) if learned_scale else None)

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draws random vectors, applies one iteration, and sets γ = 1."""
        self.left.copy_(F.normalize(torch.randn(self.left.shape, generator=rng), dim=0))
        self.iterate()
        if self.scale is not None:
            self.scale.fill_(1)

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration."""
        matrix = self.weight.flatten(1)
        self.right.copy_(F.normalize(matrix.T @ self.left, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))


class SpectralLinear(_SpectralLayer, nn.Linear):
    """A linear layer with the weight γ W/‖W‖."""

    def __init__(self, fan_in: int, fan_out: int, *, learned_scale: bool, bias: bool = True) -> None:
        super().__init__(fan_in, fan_out, bias)
        self.add_state(learned_scale=learned_scale)

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Linear."""
        out: Tensor = F.linear(x, normalised(self.weight, self.left, self.right, self.scale), self.bias)
        return out


class SpectralConv2d(_SpectralLayer, nn.Conv2d):
    """A convolution with the weight γ W/‖W‖; ‖W‖ is the norm of the matrix [out, in·k·k], not of the convolution."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, learned_scale: bool, **options: Any
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, **options)
        self.add_state(learned_scale=learned_scale)

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Conv2d."""
        out: Tensor = self._conv_forward(x, normalised(self.weight, self.left, self.right, self.scale), self.bias)
        return out


def normalised(weight: Tensor, left: Tensor, right: Tensor, scale: Tensor | None) -> Tensor:
    """γ W/σ with σ = uᵀ W v, for constant u and v. For one layer, [out, …], or R layers, [R, out, …], [R, out], …"""
    first = left.dim() - 1
    matrix = weight.flatten(first + 1)
    sigma = product(left.unsqueeze(-2), product(matrix, right.unsqueeze(-1)))
    factor = sigma.reciprocal() if scale is None else scale.unsqueeze(-1) / sigma
    found: Tensor = (matrix * factor).unflatten(-1, weight.shape[first + 1 :])
    return found


def spectral_layers(network: nn.Module) -> list[_SpectralLayer]:
    """The spectral layers of a network, in order."""
    return [layer for layer in network.modules() if isinstance(layer, _SpectralLayer)]


def linear(spectral: Spectral, fan_in: int, fan_out: int, *, bias: bool = True) -> nn.Module:
    """A linear layer, normalised as `spectral` says."""
    if spectral == "none":
        return nn.Linear(fan_in, fan_out, bias)
    return SpectralLinear(fan_in, fan_out, learned_scale=spectral == "learned_scale", bias=bias)


def convolution(spectral: Spectral, channels_in: int, channels_out: int, kernel: int, **options: Any) -> nn.Module:
    """A convolution, normalised as `spectral` says; `options` are those of nn.Conv2d."""
    if spectral == "none":
        return nn.Conv2d(channels_in, channels_out, kernel, **options)
    learned = spectral == "learned_scale"
    return SpectralConv2d(channels_in, channels_out, kernel, learned_scale=learned, **options)
