"""Applies R multilayer perceptrons with one batched product per layer; can be differentiated repeatedly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gramtune.networks._spectral import SpectralLinear, normalised
from gramtune.stats.rounding import product

_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.Tanh)
"""Sigmoid is excluded: its rounding in torch depends on the position in memory, so replicates would not be
independent."""


def is_perceptron(layers: Sequence[nn.Module]) -> bool:
    """Whether `apply_perceptrons` can run this chain. Every layer must compute only what its type computes.

    Parametrised layers are subclasses, and weight_norm and spectral_norm of torch.nn.utils are hooks; both are refused.
    """
    return all(map(_is_known, layers))


def _is_known(layer: nn.Module) -> bool:
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return not any(hooks) and (
        type(layer) in (nn.Linear, SpectralLinear)
        or type(layer) in _POINTWISE
        or (type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1))
        or (type(layer) is nn.Unflatten and layer.dim == 1)
    )


def apply_perceptrons(
    layers: Sequence[nn.Module], parameters: Sequence[Tensor], vectors: Sequence[tuple[Tensor, Tensor]], x: Tensor
) -> Tensor:
    """R chains of linear and pointwise layers: [R, B, *in] → [R, B, *out]; no row depends on another.

    `parameters`: the parameters of the layers in order, [R, *shape] each; row i belongs to chain i. `vectors`: the
    singular vectors of each spectral layer, [R, out] and [R, in].
    """
    left, found = iter(parameters), iter(vectors)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            weight = next(left)
            bias = None if layer.bias is None else next(left).unsqueeze(1)
            if isinstance(layer, SpectralLinear):
                weight = normalised(weight, *next(found), None if layer.scale is None else next(left))
            x = _linear(x, weight.mT, bias)
        elif isinstance(layer, nn.Flatten):
            x = x.flatten(2)
        elif isinstance(layer, nn.Unflatten):
            x = x.unflatten(2, layer.unflattened_size)
        else:
            x = layer(x)
    return x


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return product(x, weight)
    if _is_thin(x, weight):
        return product(x, weight) + bias
    return torch.baddbmm(bias, x, weight)


def _is_thin(left: Tensor, right: Tensor) -> bool:
    return 1 in left.shape[1:] or right.shape[2] == 1
