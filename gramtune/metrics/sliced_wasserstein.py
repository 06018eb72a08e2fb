"""Sliced Wasserstein distance (Bonneel et al. 2015), for low-dimensional samples; needs no bandwidth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register


@register
class SlicedWasserstein(Metric):
    """Root of the mean squared 1D Wasserstein-2 distance over fixed random directions, in data units."""

    extractor: ClassVar[str] = "identity"
    name: Literal["sliced_wasserstein"] = "sliced_wasserstein"
    directions_count: PositiveInt = 64
    quantiles: PositiveInt = 1000

    @property
    def directions(self) -> Mapping[str, Direction]:
        """One key, the metric's own name; lower is better."""
        return {self.name: "min"}

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Quantiles of the projected held-out samples [M, d]: [quantiles, directions]."""
        return {"quantiles": self._project(real)}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{name: distance} for generated samples [N, d]."""
        return {self.name: math.sqrt((self._project(fake) - reference["quantiles"]).square().mean().item())}

    def _project(self, samples: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(0)
        axes = torch.randn(samples.shape[1], self.directions_count, generator=rng, dtype=torch.float64)
        axes = (axes / axes.norm(dim=0)).to(samples.device)
        levels = (torch.arange(self.quantiles, dtype=torch.float64, device=samples.device) + 0.5) / self.quantiles
        return torch.quantile(samples.double() @ axes, levels, dim=0)
