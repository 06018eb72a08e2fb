"""Inverts triangular matrices with few kernel launches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64
"""Size of the largest matrices that cuBLAS inverts as one batch; it inverts larger ones one by one."""


def inverse_of_lower(triangles: Tensor) -> Tensor:
    """L⁻¹ of lower triangular matrices, [..., N, N] → [..., N, N], from the inverses of the blocks on the diagonal.

    [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹ B A⁻¹, C⁻¹]], for all pairs of neighbouring blocks together. On a GPU a
    triangular solve is a long chain of small steps, repeated for each later right-hand side and each matrix of the
    batch. Products with the inverse are two short kernels.
    """
    n = triangles.shape[-1]
    levels = max(0, math.ceil(math.log2(n / _BLOCK)))
    size = -(-n >> levels)
    padding = (size << levels) - n
    if padding:
        triangles = F.pad(triangles, (0, padding, 0, padding))
        triangles.diagonal(dim1=-2, dim2=-1)[..., n:] = 1
    identity = torch.eye(size, dtype=triangles.dtype, device=triangles.device)
    blocks = _on_diagonal(triangles, size)
    inverse: Tensor = torch.linalg.solve_triangular(blocks, identity.expand_as(blocks), upper=False)
    for level in range(levels):
        below = _on_diagonal(triangles, size << (level + 1))[..., size << level :, : size << level]
        a, c = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        upper, lower = (a, torch.zeros_like(a)), (-(c @ below @ a), c)
        inverse = torch.cat((torch.cat(upper, dim=-1), torch.cat(lower, dim=-1)), dim=-2)
    return inverse.squeeze(-3)[..., :n, :n]


def _on_diagonal(matrices: Tensor, size: int) -> Tensor:
    """The blocks of this size on the diagonal: [..., N, N] → [..., N/size, size, size]."""
    blocks: Tensor = matrices.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))  # [..., N/size, size, N/size, size]
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
