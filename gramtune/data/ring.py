"""Gaussians on a ring: the paper's stability experiment (Fig. 1, 2 and 6)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Mixture, Shape
from gramtune.registry import register


@register
class Ring(Dataset):
    """Equal mixture of `modes` isotropic Gaussians, evenly spaced on a circle."""

    name: Literal["ring"] = "ring"
    dim: Literal[2, 3] = 2
    """2 or 3. With 3 the circle lies in the plane z = 0 and the noise has three dimensions. The authors' code has a 3D
    ring too, but the paper does not describe it."""
    modes: Annotated[int, Field(ge=2)] = 8
    radius: PositiveFloat = 1.0
    std: PositiveFloat = 0.01
    n_train: PositiveInt = 50_000
    n_held_out: PositiveInt = 10_000

    @property
    def shape(self) -> Shape:
        """(dim,)."""
        return (self.dim,)

    def fingerprint(self, root: Path) -> str:
        """All fields: they determine the points."""
        return f"ring{self.dim}d-{self.modes}-{self.radius}-{self.std}-{self.n_train}-{self.n_held_out}"

    def centres(self) -> Tensor:
        """Mode centres, float32 [modes, dim]."""
        angles = torch.arange(self.modes) * (2 * math.pi / self.modes)
        circle = self.radius * torch.stack((angles.cos(), angles.sin()), dim=1)
        return torch.nn.functional.pad(circle, (0, self.dim - 2))

    def mixture(self) -> Mixture:
        """The centres and their common spread."""
        return Mixture(self.centres(), self.std)

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
        mode = torch.randint(self.modes, (n,), generator=rng)
        return self.centres()[mode] + self.std * torch.randn(n, self.dim, generator=rng)
