"""R multilayer perceptrons in one batched product per layer, differentiable as often as an objective needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.Tanh)
"""Not sigmoid: torch rounds an element by its place in memory, so a replicate would depend on those beside it."""


def is_perceptron(layers: Sequence[nn.Module]) -> bool:
    """Whether `apply_perceptrons` can run this chain: no layer may compute anything beside what its own type does.

    A parametrised layer has a subclass of its own; weight_norm and spectral_norm of torch.nn.utils are hooks.
    """
    return all(map(_is_known, layers))


def _is_known(layer: nn.Module) -> bool:
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return not any(hooks) and (
        type(layer) is nn.Linear
        or type(layer) in _POINTWISE
        or (type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1))
        or (type(layer) is nn.Unflatten and layer.dim == 1)
    )


def apply_perceptrons(layers: Sequence[nn.Module], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """R chains of linear and pointwise layers: [R, B, *in] → [R, B, *out]; no row depends on another.

    `parameters`: those of the layers in their order, [R, *shape] each; row i belongs to chain i.
    """
    left = iter(parameters)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            weight = next(left).mT
            x = _linear(x, weight, None if layer.bias is None else next(left).unsqueeze(1))
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


def product(left: Tensor, right: Tensor) -> Tensor:
    """left [R, n, k] @ right [R, k, m]. The rounding does not depend on R, nor does that of any derivative.

    Where a dimension of the product is 1, MKL rounds one pair of matrices and several pairs differently. Such a
    dimension is padded to 2, so every product of the derivatives has two as well.
    """
    if not _is_thin(left, right):
        return torch.bmm(left, right)
    n, k, m = (*left.shape[1:], right.shape[2])
    left = F.pad(left, (0, int(k == 1), 0, int(n == 1)))
    right = F.pad(right, (0, int(m == 1), 0, int(k == 1)))
    return torch.bmm(left, right)[:, :n, :m]


def _is_thin(left: Tensor, right: Tensor) -> bool:
    return 1 in left.shape[1:] or right.shape[2] == 1
