"""One isotropic Gaussian: the simplest target, whose every distance is known in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Mixture, Shape
from gramtune.registry import register


@register
class Gaussian(Dataset):
    """N(mean · 1, std² I) in `dim` dimensions."""

    name: Literal["gaussian"] = "gaussian"
    dim: PositiveInt = 2
    mean: float = 0.0
    """The same in every dimension."""
    std: PositiveFloat = 1.0
    n_train: PositiveInt = 50_000
    n_held_out: PositiveInt = 10_000

    @property
    def shape(self) -> Shape:
        """(dim,)."""
        return (self.dim,)

    def fingerprint(self, root: Path) -> str:
        """All fields: they determine the points."""
        return f"gaussian{self.dim}d-{self.mean}-{self.std}-{self.n_train}-{self.n_held_out}"

    def mixture(self) -> Mixture:
        """A single mode."""
        return Mixture(torch.full((1, self.dim), self.mean), self.std)

    def train_size(self, root: Path) -> int:
        """n_train, without drawing a point."""
        return self.n_train

    def train(self, root: Path) -> Tensor:
        """float32 [n_train, dim]."""
        return self._draw(self.n_train, seed=0)

    def held_out(self, root: Path) -> Tensor:
        """float32 [n_held_out, dim]."""
        return self._draw(self.n_held_out, seed=1)

    def _draw(self, n: int, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return self.mean + self.std * torch.randn(n, self.dim, generator=rng)
