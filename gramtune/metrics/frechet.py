"""Fréchet distance between Gaussians fitted to real and generated features (Heusel et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    traces = real.factor.square().sum() + rows.square().sum()
    return float((real.mean - mean).square().sum() + traces - 2 * root_trace)


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """float64 mean [d], and A [N, d] with AᵀA the unbiased covariance. Raises ValueError for N < 2."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {len(features)}")
    features = features.double()
    mean = features.mean(dim=0)
    return mean, (features - mean) / math.sqrt(len(features) - 1)


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
        return _symmetric_product(factor, _symmetric_product(rows, rows) @ factor)
    both = rows @ factor
    both = both.mT if n <= r else both
    return _symmetric_product(both, both)


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right [d, d], which must be symmetric, for both [N, d]: its upper triangle of tiles is computed alone."""
    d = right.shape[1]
    product = right.new_empty(d, d)
    for start in range(0, d, _TILE):
        stop = min(start + _TILE, d)
        upper = left[:, start:stop].mT @ right[:, start:]
        product[start:stop, start:] = upper
        product[stop:, start:stop] = upper[:, stop - start :].mT
    return product


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
