"""Class logits of the same Inception network, for the inception score."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gramtune.features.inception import InceptionFeatures, Pool3, read_weights
from gramtune.registry import register


@register
class InceptionLogits(InceptionFeatures):
    """1008 class logits without the last layer's bias, as in the code of the inception score's authors."""

    layer_dim: ClassVar[int] = 1008
    trunk: ClassVar[str | None] = "inception"
    name: Literal["inception_logits"] = "inception_logits"

    def load(self, root: Path, device: torch.device) -> nn.Module:
        """Pool3 and the last layer, frozen."""
        weights = read_weights(root)
        return nn.Sequential(Pool3(weights), _last_layer(weights)).eval().requires_grad_(False).to(device)

    def load_head(self, root: Path, device: torch.device) -> nn.Module:
        """The last layer, frozen."""
        return _last_layer(read_weights(root)).eval().requires_grad_(False).to(device)


def _last_layer(weights: dict[str, Tensor]) -> nn.Linear:
    layer = nn.Linear(2048, 1008, bias=False)
    layer.load_state_dict({"weight": weights["fc.weight"]})
    return layer
