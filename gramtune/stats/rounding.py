"""Operations whose rounding does not depend on other elements, so that a replicate equals its solo run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right: [..., n, k], [..., k, m] → [..., n, m], equal leading dimensions.

    Where a dimension of the product is 1, MKL rounds one pair of matrices and several pairs differently. Such a
    dimension is padded to 2, so every product of the derivatives has two as well.
    """
    n, k, m = (*left.shape[-2:], right.shape[-1])
    if 1 not in (n, k, m):
        return torch.bmm(left, right) if left.dim() == 3 else left @ right
    left = F.pad(left, (0, int(k == 1), 0, int(n == 1)))
    right = F.pad(right, (0, int(m == 1), 0, int(k == 1)))
    return (left @ right)[..., :n, :m]


def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ), elementwise, as max(x, 0) + log1p(e^−|x|). torch's own rounds differently by position in memory."""
    out: Tensor = _Softplus.apply(x)
    return out


def sigmoid(x: Tensor) -> Tensor:
    """1/(1 + e^−x), elementwise. torch's own rounds differently by position in memory."""
    out: Tensor = _Sigmoid.apply(x)
    return out


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu().add_(x.abs().neg_().exp_().log1p_())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * sigmoid(x)


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = (1 + x.neg().exp()).reciprocal()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        found: Tensor = grads[0] * out * (1 - out)
        return found
