"""A single Gaussian: the simplest target; its distances have closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from gramtune.components import Dataset, Mixture, Shape
from gramtune.registry import register

Row = Annotated[tuple[float, ...], Field(strict=False)]


@register
class Gaussian(Dataset):
    """N(mean · 1, std² I) in `dim` dimensions, or N(mean · 1, covariance).

    The submission's code (GRAM.jl) uses covariance [[0.25, 0.25], [0.25, 1]] and 1,000 points.
    """

    name: Literal["gaussian"] = "gaussian"
    dim: PositiveInt = 2
    mean: float = 0.0
    """Mean, equal in every dimension."""
    std: PositiveFloat = 1.0
    """Standard deviation; no effect if `covariance` is given."""
    covariance: Annotated[tuple[Row, ...], Field(strict=False)] | None = None
    """[dim, dim], symmetric and positive definite; null for std² I."""
    n_train: PositiveInt = 50_000
    n_held_out: PositiveInt = 10_000

    @model_validator(mode="after")
    def _definite(self) -> Gaussian:
        if self.covariance is not None:
            if len(self.covariance) != self.dim or any(len(row) != self.dim for row in self.covariance):
                raise ValueError(f"covariance should have {self.dim} rows of {self.dim} numbers, as dim says")
            matrix = torch.tensor(self.covariance, dtype=torch.float64)
            if not torch.equal(matrix, matrix.T) or torch.linalg.cholesky_ex(matrix).info != 0:
                raise ValueError("covariance should be symmetric and positive definite")
        return self

    @property
    def shape(self) -> Shape:
        """(dim,)."""
        return (self.dim,)

    def fingerprint(self, root: Path) -> str:
        """All fields: they determine the points."""
        spread = self.std if self.covariance is None else self.covariance
        return f"gaussian{self.dim}d-{self.mean}-{spread}-{self.n_train}-{self.n_held_out}"

    def mixture(self) -> Mixture | None:
        """A single mode; None if the Gaussian is not isotropic."""
        if self.covariance is not None:
            return None
        return Mixture(torch.full((1, self.dim), self.mean), self.std)

    def train_size(self, root: Path) -> int:
        """n_train, without drawing a point."""
        return self.n_train

    def held_out_size(self, root: Path) -> int:
        """n_held_out, without drawing a point."""
        return self.n_held_out

    def train(self, root: Path) -> Tensor:
        """float32 [n_train, dim]."""
        return self._draw(self.n_train, seed=0)

    def held_out(self, root: Path) -> Tensor:
        """float32 [n_held_out, dim]."""
        return self._draw(self.n_held_out, seed=1)

    def _draw(self, n: int, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(n, self.dim, generator=rng)
        if self.covariance is None:
            return self.mean + self.std * noise
        factor = torch.linalg.cholesky(torch.tensor(self.covariance, dtype=torch.float64))
        points: Tensor = self.mean + noise @ factor.T.float()
        return points
