"""Gaussian Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_distances(x: Tensor) -> Tensor:
    """All pairwise squared Euclidean distances of the rows of `x`: [..., N, d] → [..., N, N].

    ‖a‖² + ‖b‖² − 2ab cancels badly in float32 and can turn negative, which costs the Gram matrix its positive
    definiteness; so rows are centred first (distances do not notice), and the result is clamped at 0.
    """
    x = x - x.mean(dim=-2, keepdim=True)
    norms = x.square().sum(dim=-1)
    return (norms.unsqueeze(-1) + norms.unsqueeze(-2) - 2 * (x @ x.mT)).clamp_min(0)


def gaussian_grams(squared: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """k(a, b) = exp(−‖a − b‖² / 2σ²) for each σ: [..., N, N] squared distances → [..., S, N, N]."""
    scales = torch.tensor([-0.5 / sigma**2 for sigma in bandwidths], dtype=squared.dtype, device=squared.device)
    return torch.exp(squared.unsqueeze(-3) * scales.view(-1, 1, 1))
