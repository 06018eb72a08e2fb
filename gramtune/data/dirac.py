"""The point mass δ_0 on the line: the data of the Dirac-GAN (Mescheder et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Shape
from gramtune.registry import register


@register
class Dirac(Dataset):
    """Every sample is 0 ∈ R. With network `dirac`, training is a path in the plane of θ and ψ."""

    name: Literal["dirac"] = "dirac"
    n_train: PositiveInt = 512
    """Number of training samples, all 0."""
    n_held_out: PositiveInt = 512
    """Number of held-out samples, all 0."""

    @property
    def shape(self) -> Shape:
        """(1,)."""
        return (1,)

    def fingerprint(self, root: Path) -> str:
        """A digest of the sizes."""
        return f"dirac-{self.n_train}-{self.n_held_out}"

    def train(self, root: Path) -> Tensor:
        """float32 [n_train, 1]."""
        return torch.zeros(self.n_train, 1)

    def held_out(self, root: Path) -> Tensor:
        """float32 [n_held_out, 1]."""
        return torch.zeros(self.n_held_out, 1)
