"""Fréchet distance between Gaussians fitted to real and generated features (Heusel et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register


class Moments(NamedTuple):
    """Mean [d], and a factor [d, d] of the covariance: Σ = L Lᵀ. Both float64."""

    mean: Tensor
    factor: Tensor

    @property
    def trace(self) -> Tensor:
        """Tr Σ."""
        return self.factor.square().sum()


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """float64 mean [d] and unbiased covariance [d, d] of features [N, d]. Raises ValueError for N < 2."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {len(features)}")
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    return mean, centred.mT @ centred / (len(features) - 1)


def moments(features: Tensor) -> Moments:
    """Moments of features [N, d]; the factor U√Λ comes from the eigen-decomposition, so singular Σ are fine."""
    mean, covariance = mean_and_covariance(features)
    values, vectors = torch.linalg.eigh(covariance)
    return Moments(mean, vectors * values.clamp_min(0).sqrt())


def frechet_distance(real: Moments, mean: Tensor, covariance: Tensor) -> float:
    """‖μ_p − μ_q‖² + Tr(Σ_p + Σ_q − 2(Σ_p Σ_q)^½), in float64.

    With Σ_p = L Lᵀ the eigenvalues of Σ_p Σ_q are those of the symmetric Lᵀ Σ_q L, so Tr(Σ_p Σ_q)^½ = Σ_i √λ_i.
    """
    eigenvalues = torch.linalg.eigvalsh(real.factor.mT @ covariance @ real.factor)
    root_trace = eigenvalues.clamp_min(0).sqrt().sum()
    distance = (real.mean - mean).square().sum() + real.trace + covariance.trace() - 2 * root_trace
    return float(distance)


class Frechet(Metric):
    """Fréchet distance on the features of one extractor; the metric's name tells which."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """One key, the metric's own name; less is better."""
        return {self.name: "min"}

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """d + 1."""
        return dim + 1, "the covariance is singular and the value is biased upwards"

    def reference(self, real: Tensor, data: Dataset) -> Moments:
        """Moments of the held-out features [M, d]."""
        return moments(real)

    def compute(self, reference: Moments, fake: Tensor) -> dict[str, float]:
        """{name: distance} for generated features [N, d]."""
        return {self.name: frechet_distance(reference, *mean_and_covariance(fake))}


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
