"""The samples themselves, flattened: for point sets, where no network is needed to compare distributions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from gramtune.components import FeatureExtractor, Shape
from gramtune.registry import register


@register
class Identity(FeatureExtractor):
    """[B, *shape] → [B, d] unchanged."""

    name: Literal["identity"] = "identity"

    @property
    def fingerprint(self) -> str:
        """Constant: there are no weights."""
        return "identity"

    def dim(self, shape: Shape) -> int:
        """Number of entries of one sample."""
        return math.prod(shape)

    def load(self, root: Path, device: torch.device) -> nn.Module:
        """Flattens."""
        return nn.Flatten()
