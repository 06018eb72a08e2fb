"""Eight Gaussians on a ring: the paper's stability experiment (Fig. 1, 2 and 6)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Shape
from gramtune.registry import register


@register
class Ring(Dataset):
    """Equal mixture of `modes` isotropic Gaussians, evenly spaced on a circle in the plane."""

    name: Literal["ring"] = "ring"
    modes: Annotated[int, Field(ge=2)] = 8
    radius: PositiveFloat = 1.0
    std: PositiveFloat = 0.01
    n_train: PositiveInt = 50_000
    n_held_out: PositiveInt = 10_000

    @property
    def shape(self) -> Shape:
        """(2,)."""
        return (2,)

    @property
    def fingerprint(self) -> str:
        """All fields: they determine the points."""
        return f"ring-{self.modes}-{self.radius}-{self.std}-{self.n_train}-{self.n_held_out}"

    def centres(self) -> Tensor:
        """Mode centres, float32 [modes, 2]."""
        angles = torch.arange(self.modes) * (2 * math.pi / self.modes)
        return self.radius * torch.stack((angles.cos(), angles.sin()), dim=1)

    def train(self, root: Path) -> Tensor:
        """float32 [n_train, 2]."""
        return self._draw(self.n_train, seed=0)

    def held_out(self, root: Path) -> Tensor:
        """float32 [n_held_out, 2]."""
        return self._draw(self.n_held_out, seed=1)

    def _draw(self, n: int, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        mode = torch.randint(self.modes, (n,), generator=rng)
        return self.centres()[mode] + self.std * torch.randn(n, 2, generator=rng)
