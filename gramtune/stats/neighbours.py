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


def nearest(queries: Tensor, points: Tensor, k: int) -> Neighbours:
    """The k nearest of `points` [M, *shape] to each of `queries` [N, *shape], any type; samples are compared flat.

    Raises ValueError if there are fewer than k points.
    """
    if len(points) < k:
        raise ValueError(f"{k} nearest neighbours need at least {k} points, got {len(points)}")
    found = [_distances(chunk, points).topk(k, dim=1, largest=False) for chunk in queries.split(_CHUNK)]
    return Neighbours(torch.cat([chunk.values for chunk in found]), torch.cat([chunk.indices for chunk in found]))


def covered(queries: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Whether each of `queries` [N, *shape] lies in a ball of radius radii[j] around some centres[j]: bool [N]."""
    return torch.cat([(_distances(chunk, centres) <= radii).any(dim=1) for chunk in queries.split(_CHUNK)])


def _distances(queries: Tensor, points: Tensor) -> Tensor:
    """[N, M] in float64: in float32 the differences of squares cannot tell near neighbours apart."""
    flat = queries.flatten(1).double()
    return torch.cat([torch.cdist(flat, chunk.flatten(1).double()) for chunk in points.split(_CHUNK)], dim=1)
