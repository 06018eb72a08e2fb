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
    """1008 class logits without the last layer's bias, which the authors of the inception score leave out."""

    layer_dim: ClassVar[int] = 1008
    name: Literal["inception_logits"] = "inception_logits"

    def load(self, root: Path, device: torch.device) -> nn.Module:
        """Pool3 and the last layer, frozen."""
        return _Logits(read_weights(root)).eval().requires_grad_(False).to(device)


class _Logits(nn.Module):
    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.pool3 = Pool3(state)
        self.fc = nn.Linear(2048, 1008, bias=False)
        self.fc.load_state_dict({"weight": state["fc.weight"]})

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool3(images))
        return logits
