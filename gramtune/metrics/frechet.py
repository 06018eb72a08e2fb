"""Fréchet distance between Gaussians fitted to real and generated features (Heusel et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register

_TILE = 256


class Moments(NamedTuple):
    """Mean [d], and a factor [d, r] of the covariance: Σ = L Lᵀ. Both float64."""

    mean: Tensor
    factor: Tensor


def moments(features: Tensor) -> Moments:
    """Moments of features [N, d].

    With N ≤ d the centred features are a factor themselves. Otherwise it is Cholesky's, without a jitter: where Σ is
    singular (a feature that is never active) Cholesky refuses, and the factor is U√Λ of the eigenvalues that are not 0.
    """
    mean, rows = _centred(features)
    if len(rows) <= rows.shape[1]:
        return Moments(mean, rows.mT.contiguous())
    covariance = _symmetric_product(rows, rows)
    factor, refused = torch.linalg.cholesky_ex(covariance)
    return Moments(mean, _eigen_factor(covariance) if refused else factor)


def frechet_distance(real: Moments, fake: Tensor) -> float:
    """‖μ_p − μ_q‖² + Tr(Σ_p + Σ_q − 2(Σ_p Σ_q)^½) for generated features [N, d], in float64.

    With Σ_p = L Lᵀ and Σ_q = Aᵀ A the eigenvalues of Σ_p Σ_q are those of Lᵀ Aᵀ A L, and of A L Lᵀ Aᵀ: symmetric both;
    Tr(Σ_p Σ_q)^½ = Σ_i √λ_i, taken from whichever is smaller, [r, r] or [N, N].
    """
    mean, rows = _centred(fake)
    products = _cross_products(rows, real.factor)
    root_trace = torch.linalg.eigvalsh(products).clamp_min(0).sqrt().sum()
    traces = torch.linalg.vector_norm(real.factor) ** 2 + torch.linalg.vector_norm(rows) ** 2
    return float((real.mean - mean).square().sum() + traces - 2 * root_trace)


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """float64 mean [d], and A [N, d] with AᵀA the unbiased covariance. Raises ValueError for N < 2."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {len(features)}")
    rows = features.to(torch.float64, copy=True)
    mean = rows.mean(dim=0)
    return mean, rows.sub_(mean).div_(math.sqrt(len(rows) - 1))


def _eigen_factor(covariance: Tensor) -> Tensor:
    """[d, r] for a covariance [d, d] of numerical rank r."""
    values, vectors = torch.linalg.eigh(covariance)
    present = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    factor: Tensor = vectors[:, present] * values[present].sqrt()
    return factor


def _cross_products(rows: Tensor, factor: Tensor) -> Tensor:
    """Lᵀ Aᵀ A L [r, r] or A L Lᵀ Aᵀ [N, N]; where N > d, by way of Aᵀ A [d, d]."""
    n, (d, r) = len(rows), factor.shape
    if n > d:
        covariance = _symmetric_product(rows, rows)
        if d == r and torch.equal(factor, factor.tril()):
            return _between_triangles(factor, covariance)
        return _symmetric_product(factor, covariance @ factor)
    both = rows @ factor
    both = both.mT if n <= r else both
    return _symmetric_product(both, both)


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right [d, d], which must be symmetric, for both [N, d]: its upper triangle of tiles is computed alone."""
    d = right.shape[1]
    product = right.new_empty(d, d)
    for start, stop in _tiles(d):
        _fill(product, start, stop, left[:, start:stop].mT @ right[:, start:])
    return product


def _between_triangles(lower: Tensor, symmetric: Tensor) -> Tensor:
    """Lᵀ S L [d, d] for a lower triangle L: of all products those alone that meet no tile of zeros, a third of them."""
    d = len(lower)
    right = torch.cat([symmetric[:, start:] @ lower[start:, start:stop] for start, stop in _tiles(d)], dim=1)
    product = right.new_empty(d, d)
    for start, stop in _tiles(d):
        _fill(product, start, stop, lower[start:, start:stop].mT @ right[start:, start:])
    return product


def _tiles(d: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _TILE, d)) for start in range(0, d, _TILE))


def _fill(symmetric: Tensor, start: int, stop: int, upper: Tensor) -> None:
    """Rows `start` to `stop` from the diagonal on, and the columns that are their mirror."""
    symmetric[start:stop, start:] = upper
    symmetric[stop:, start:stop] = upper[:, stop - start :].mT


class Frechet(Metric):
    """Fréchet distance on the features of one extractor; the metric's name tells which."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """One key, the metric's own name; less is better."""
        return {self.name: "min"}

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """d + 1."""
        return dim + 1, "the covariance is singular and the value is biased upwards"

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Moments of the held-out features [M, d]."""
        return moments(real)._asdict()

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{name: distance} for generated features [N, d]."""
        return {self.name: frechet_distance(Moments(**reference), fake)}


@register
class Fid(Frechet):
    """FID proper: Inception's pool3 features, as pytorch-fid computes them."""

    extractor: ClassVar[str] = "inception"
    name: Literal["fid"] = "fid"


@register
class FidDigits(Frechet):
    """The same formula on the shipped digit features; comparable with no other FID."""

    extractor: ClassVar[str] = "digits_cnn"
    name: Literal["fid_digits"] = "fid_digits"
