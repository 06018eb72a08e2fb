"""Layers, initialisations and priors shared by several networks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from gramtune.components import Shape, kind_of
from gramtune.networks._spectral import Spectral, linear, spectral_layers

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
"""Sizes of successive layers, as a list in YAML."""
Prior = Literal["normal", "uniform"]
"""The prior p_z of the noise: standard normal, or uniform on [−1, 1]."""
Norm = Literal["batch", "layer", "none"]
"""Normalisation in the critic. `batch` mixes samples, which gradient penalties forbid; `layer` acts on each sample."""


def perceptron(*widths: int, norm: Norm = "none", spectral: Spectral = "none") -> list[nn.Module]:
    """Linear layers of these widths; normalisation and ReLU follow every layer but the last.

    A layer before BatchNorm has no bias, because BatchNorm would remove it.
    """
    *hidden, last = pairwise(widths)
    layers: list[nn.Module] = []
    for fan_in, fan_out in hidden:
        layers.append(linear(spectral, fan_in, fan_out, bias=norm != "batch"))
        layers += [*vector_norm(norm, fan_out), nn.ReLU()]
    return [*layers, linear(spectral, *last)]


def vector_norm(norm: Norm, width: int) -> list[nn.Module]:
    """The normalisation layer for vectors, if any: [B, width] → [B, width]."""
    return [] if norm == "none" else [nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)]


def map_norm(norm: Norm, channels: int) -> list[nn.Module]:
    """The normalisation layer for maps, if any: [B, C, H, W] → [B, C, H, W]. `layer`: over all entries of a sample."""
    return [] if norm == "none" else [nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)]


def perceptron_to_sample(
    input_dim: int, hidden: tuple[int, ...], shape: Shape, *, batch_norm: bool = False
) -> nn.Module:
    """A perceptron [B, input_dim] → [B, *shape]; its last layer is linear for points and tanh for images."""
    tail = [nn.Tanh(), nn.Unflatten(1, shape)] if kind_of(shape) == "image" else []
    norm: Norm = "batch" if batch_norm else "none"
    return nn.Sequential(*perceptron(input_dim, *hidden, math.prod(shape), norm=norm), *tail)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def initialise_glorot(module: nn.Module, rng: torch.Generator) -> None:
    """Weights U(±√(6/(fan_in + fan_out))) (Glorot & Bengio 2010), BatchNorm weights 1, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight, generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, _NORMS):
            layer.reset_parameters()
    _initialise_spectral(module, rng)


def initialise_normal(module: nn.Module, rng: torch.Generator) -> None:
    """Weights N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0 (Radford et al. 2015; Li et al. 2017)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02, generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            nn.init.normal_(layer.weight, 1.0, 0.02, generator=rng)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, _NORMS):
            layer.reset_parameters()
    _initialise_spectral(module, rng)


def _initialise_spectral(module: nn.Module, rng: torch.Generator) -> None:
    for layer in spectral_layers(module):
        layer.initialise(rng)


def draw_noise(prior: Prior, n: int, dim: int, rng: torch.Generator) -> Tensor:
    """n draws from the prior: [n, dim] on the device of `rng`."""
    if prior == "normal":
        return torch.randn(n, dim, generator=rng, device=rng.device)
    return torch.rand(n, dim, generator=rng, device=rng.device) * 2 - 1
