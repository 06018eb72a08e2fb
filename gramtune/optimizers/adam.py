"""Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from gramtune.components import Optimizer
from gramtune.optimizers._fields import Decay, capturable
from gramtune.registry import register


@register
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    beta1: Decay = 0.5
    beta2: Decay = 0.999

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Fused: one kernel for all parameters, on CPU and GPU."""
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(
            parameters, lr=learning_rate, betas=betas, fused=True, capturable=capturable(parameters)
        )
