"""Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gramtune.components import Optimizer
from gramtune.optimizers._fields import Decay, Epsilon, WeightDecay, capturable
from gramtune.registry import register


@register
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    beta1: Decay = 0.5
    beta2: Decay = 0.999
    eps: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0
    """Strength of the L2 penalty, added to the gradient; `adamw` decays the weights directly instead."""

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float | Tensor) -> torch.optim.Optimizer:
        """Fused Adam: one kernel for all parameters, on CPU and GPU."""
        return torch.optim.Adam(
            parameters,
            lr=learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
            capturable=capturable(parameters),
        )
