"""Finds nearest neighbours by exhaustive search, in chunks that fit in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 1024


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each query, nearest first."""

    distances: Tensor  # [N, k], Euclidean, float64
    indices: Tensor  # [N, k]


def nearest(queries: Tensor, points: Tensor, k: int, chunk: int = _CHUNK) -> Neighbours:
    """The k nearest of `points` [M, *shape] to each of `queries` [N, *shape], any type; samples are compared flat.

    At most `chunk` by `chunk` distances are computed at once. Raises ValueError if there are fewer than k points.
    """
    if len(points) < k:
        raise ValueError(f"{k} nearest neighbours need at least {k} points, got {len(points)}")
    found = [_distances(part, points, chunk).topk(k, dim=1, largest=False) for part in queries.split(chunk)]
    return Neighbours(torch.cat([part.values for part in found]), torch.cat([part.indices for part in found]))


def covered(queries: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Whether each of `queries` [N, *shape] lies in a ball of radius radii[j] around some centres[j]: bool [N]."""
    return torch.cat([(_distances(part, centres) <= radii).any(dim=1) for part in queries.split(_CHUNK)])


def _distances(queries: Tensor, points: Tensor, chunk: int = _CHUNK) -> Tensor:
    """[N, M] in float64: in float32 the differences of squares cannot tell near neighbours apart."""
    flat = queries.flatten(1).double()
    return torch.cat([torch.cdist(flat, part.flatten(1).double()) for part in points.split(chunk)], dim=1)
