"""Kernel inception distance (Bińkowski et al. 2018): unlike FID, it is unbiased for any number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register


@dataclass(frozen=True)
class KernelMeans:
    """Means over a kernel matrix [N, M], without the diagonal if both sets are the same."""

    rows: Tensor  # [N], means
    columns: Tensor  # [M], means
    square: Tensor  # mean of k²

    @property
    def mean(self) -> Tensor:
        """Mean of k."""
        return self.rows.mean()

    @property
    def centred_square(self) -> Tensor:
        """Mean of k̃², where k̃ = k − row mean − column mean + mean: the degenerate part of k."""
        return self.square - self.rows.square().mean() - self.columns.square().mean() + self.mean.square()


def kernel_means(x: Tensor, y: Tensor | None = None, chunk: int = 1024) -> KernelMeans:
    """Means of k(a, b) = (a·b/d + 1)³ over x [N, d] and y [M, d], or over the pairs of different rows of x.

    The matrix is computed in blocks of `chunk` rows, so that it fits in memory.
    """
    same = y is None
    y = x if y is None else y
    n, m = len(x), len(y)
    rows, columns, square = x.new_empty(n), x.new_zeros(m), x.new_zeros(())
    for start in range(0, n, chunk):
        block = (x[start : start + chunk] @ y.mT).div_(x.shape[1]).add_(1).pow_(3)
        if same:
            block.diagonal(start).zero_()
        rows[start : start + chunk] = block.sum(dim=1)
        columns += block.sum(dim=0)
        square += block.square().sum()
    across, down = (m - 1, n - 1) if same else (m, n)
    return KernelMeans(rows / across, columns / down, square / (n * across))


def unbiased_mmd2(qq: KernelMeans, qp: KernelMeans, pp: KernelMeans) -> Tensor:
    """MMD², U-statistic: mean_{i≠j} k(y_i, y_j) − 2 mean k(y_i, x_j) + mean_{i≠j} k(x_i, x_j)."""
    return qq.mean - 2 * qp.mean + pp.mean


def mmd2_variance(qq: KernelMeans, qp: KernelMeans, pp: KernelMeans) -> Tensor:
    """Variance of `unbiased_mmd2` over draws of both sets, from its Hoeffding decomposition.

    With φ(y) = E k(y, Y) − E k(y, X) and φ'(x) = E k(x, X) − E k(x, Y) it is V₁ + V₂,
    V₁ = 4 Var φ / N + 4 Var φ' / M,  V₂ = 2 E k̃_qq² / N² + 2 E k̃_pp² / M² + 4 E k̃_qp² / NM.
    Row means in place of φ and φ' give V₁ + 2 V₂ in expectation; so V₂ is subtracted, and the result is at least V₂.
    """
    n, m = len(qq.rows), len(pp.rows)
    first = 4 * (qq.rows - qp.rows).var() / n + 4 * (pp.rows - qp.columns).var() / m
    second = (2 * qq.centred_square / n**2 + 2 * pp.centred_square / m**2 + 4 * qp.centred_square / (n * m)).clamp_min(
        0
    )
    return torch.maximum(first - second, second)


class KernelDistance(Metric):
    """Unbiased MMD² with the cubic polynomial kernel, and its standard error, on the features given by the name.

    The value can be negative: for equal distributions it is negative half the time.
    """

    @property
    def directions(self) -> Mapping[str, Direction]:
        """The value under the metric's name and its standard error under `…_se`; lower is better."""
        return {self.name: "min", f"{self.name}_se": "min"}

    @property
    def least(self) -> tuple[int, int]:
        """Two of each: the estimator averages over pairs of different samples."""
        return 2, 2

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Held-out features [M, d] and their kernel's sums."""
        return {"features": real, **vars(kernel_means(real.double()))}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{name, name_se} for generated features [N, d]."""
        fake, real = fake.double(), reference["features"].double()
        own = KernelMeans(reference["rows"], reference["columns"], reference["square"])
        sums = kernel_means(fake), kernel_means(fake, real), own
        error = mmd2_variance(*sums).sqrt()
        return {self.name: unbiased_mmd2(*sums).item(), f"{self.name}_se": error.item()}


@register
class Kid(KernelDistance):
    """The standard KID on Inception's pool3 features, without the factor 1,000 that some authors use."""

    extractor: ClassVar[str] = "inception"
    name: Literal["kid"] = "kid"


@register
class KidDigits(KernelDistance):
    """KID on the shipped digit features; not comparable with any other KID."""

    extractor: ClassVar[str] = "digits_cnn"
    name: Literal["kid_digits"] = "kid_digits"
