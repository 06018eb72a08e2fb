"""Fréchet distance between Gaussians fitted to real and generated features (Heusel et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from zipfile import BadZipFile

import torch
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric, Unavailable
from gramtune.registry import register

_TILE, _ROWS = 256, 2048


@dataclass(frozen=True)
class Moments:
    """Mean [d] and a factor L [d, r] of the covariance Σ = L Lᵀ, in float64."""

    mean: Tensor
    factor: Tensor


def moments(features: Tensor) -> Moments:
    """Moments of features [N, d].

    For N ≤ d the scaled centred features are the factor. Otherwise it is Cholesky's factor, without jitter. If Σ is
    singular (for example, a feature is always 0), Cholesky fails, and the factor is U√Λ of the non-zero eigenvalues.
    """
    mean = _mean(features)
    if len(features) <= features.shape[1]:
        return Moments(mean, _centred(features, mean).mT.contiguous())
    covariance = _covariance(features, mean)
    factor, refused = torch.linalg.cholesky_ex(covariance)
    return Moments(mean, _eigen_factor(covariance) if refused else factor)


def frechet_distance(real: Moments, fake: Tensor) -> float:
    """‖μ_p − μ_q‖² + Tr(Σ_p + Σ_q − 2(Σ_p Σ_q)^½) for generated features [N, d], in float64.

    With Σ_p = L Lᵀ and Σ_q = Aᵀ A, Σ_p Σ_q has the eigenvalues λ of the symmetric matrices Lᵀ Aᵀ A L [r, r] and
    A L Lᵀ Aᵀ [N, N]. Tr(Σ_p Σ_q)^½ = Σ_i √λ_i is computed from the smaller of both.

    The rounding error of each λ is relative to the largest λ, so the √λ of small ones can have an error of √ε times the
    traces. The exact trace term is never negative, so negative results are clamped to 0.
    """
    mean, factor = _mean(fake), real.factor
    if len(fake) > fake.shape[1]:
        covariance = _covariance(fake, mean)
        products, trace = _between(factor, covariance), covariance.diagonal().sum()
    else:
        rows = _centred(fake, mean)
        both = rows @ factor if len(rows) > factor.shape[1] else (rows @ factor).mT
        products, trace = _symmetric_product(both, both), rows.square().sum()
    root_trace = torch.linalg.eigvalsh(products).clamp_min(0).sqrt().sum()
    traces = trace + torch.linalg.vector_norm(factor).square()
    return float((real.mean - mean).square().sum() + (traces - 2 * root_trace).clamp_min(0))


def _mean(features: Tensor) -> Tensor:
    """The mean [d] in float64. Raises ValueError for N < 2, where the covariance is undefined."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {len(features)}")
    return features.mean(dim=0, dtype=torch.float64)


def _centred(features: Tensor, mean: Tensor) -> Tensor:
    """A [N, d] with AᵀA the unbiased covariance, in float64."""
    return features.to(torch.float64, copy=True).sub_(mean).div_(math.sqrt(len(features) - 1))


def _covariance(features: Tensor, mean: Tensor) -> Tensor:
    """The unbiased covariance [d, d] of features [N, d], computed in chunks of rows and only in the upper triangle."""
    covariance, scale = mean.new_zeros(len(mean), len(mean)), 1 / (len(features) - 1)
    for part in features.split(_ROWS):
        rows = part.to(torch.float64, copy=True).sub_(mean)
        for start, stop in _tiles(len(mean)):
            covariance[start:stop, start:].addmm_(rows[:, start:stop].mT, rows[:, start:], alpha=scale)
    for start, stop in _tiles(len(mean)):
        covariance[stop:, start:stop] = covariance[start:stop, stop:].mT
    return covariance


def _eigen_factor(covariance: Tensor) -> Tensor:
    """A factor [d, r] of a covariance [d, d] with numerical rank r."""
    values, vectors = torch.linalg.eigh(covariance)
    present = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    factor: Tensor = vectors[:, present] * values[present].sqrt()
    return factor


def _between(factor: Tensor, covariance: Tensor) -> Tensor:
    """Lᵀ Σ L [r, r]. If L [d, d] is lower triangular, products with tiles of zeros are skipped: two thirds of all."""
    d, r = factor.shape
    if d != r or not torch.equal(factor, factor.tril()):
        return _symmetric_product(factor, covariance @ factor)
    right = torch.cat([covariance[:, start:] @ factor[start:, start:stop] for start, stop in _tiles(d)], dim=1)
    product = right.new_empty(d, d)
    for start, stop in _tiles(d):
        _fill(product, start, stop, factor[start:, start:stop].mT @ right[start:, start:])
    return product


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right [d, d] for left and right [N, d]; it must be symmetric: only its upper triangle is computed."""
    d = right.shape[1]
    product = right.new_empty(d, d)
    for start, stop in _tiles(d):
        _fill(product, start, stop, left[:, start:stop].mT @ right[:, start:])
    return product


def _tiles(d: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _TILE, d)) for start in range(0, d, _TILE))


def _fill(symmetric: Tensor, start: int, stop: int, upper: Tensor) -> None:
    """Writes `upper` to rows `start` to `stop` from the diagonal on, and its transpose to the mirrored columns."""
    symmetric[start:stop, start:] = upper
    symmetric[stop:, start:stop] = upper[:, stop - start :].mT


class Frechet(Metric):
    """Fréchet distance on the features of one extractor, given by the metric's name."""

    reads_statistics: ClassVar[bool] = True

    @property
    def directions(self) -> Mapping[str, Direction]:
        """One key, the metric's own name; lower is better."""
        return {self.name: "min"}

    @property
    def least(self) -> tuple[int, int]:
        """Two of each: the covariance of one sample is undefined."""
        return 2, 2

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """d + 1 samples: with fewer the covariance is singular."""
        return dim + 1, "the covariance is singular and the value is biased upwards"

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Moments of the held-out features [M, d]."""
        return vars(moments(real))

    def statistics(self, path: Path, dim: int) -> dict[str, Tensor]:
        """Moments from a file with `mu` [d] and `sigma` [d, d], as pytorch-fid and TTUR write it."""
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as stored:
                mean, covariance = (torch.from_numpy(np.asarray(stored[key], np.float64)) for key in ("mu", "sigma"))
        except (OSError, ValueError, KeyError, BadZipFile, AttributeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise Unavailable(
                f"metric {self.name}: {path} should be an .npz file with mu and sigma ({reason})"
            ) from error
        if mean.shape != (dim,) or covariance.shape != (dim, dim):
            found = f"mu {list(mean.shape)} and sigma {list(covariance.shape)}"
            raise Unavailable(f"metric {self.name}: {path} holds {found}; needed: [{dim}] and [{dim}, {dim}]")
        factor, refused = torch.linalg.cholesky_ex(covariance)
        return vars(Moments(mean, _eigen_factor(covariance) if refused else factor))

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{name: distance} for generated features [N, d]."""
        return {self.name: frechet_distance(Moments(**reference), fake)}


@register
class Fid(Frechet):
    """The standard FID: Inception's pool3 features, as computed by pytorch-fid."""

    extractor: ClassVar[str] = "inception"
    name: Literal["fid"] = "fid"


@register
class FidDigits(Frechet):
    """The Fréchet distance on the shipped digit features; not comparable with any other FID."""

    extractor: ClassVar[str] = "digits_cnn"
    name: Literal["fid_digits"] = "fid_digits"
