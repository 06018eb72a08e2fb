"""RMSprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gramtune.components import Optimizer
from gramtune.optimizers._fields import Decay, Epsilon, WeightDecay, capturable
from gramtune.registry import register


@register
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Decay = 0.99
    eps: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0
    momentum: Decay = 0.0

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float | Tensor) -> torch.optim.Optimizer:
        """RMSprop with one kernel for all parameters."""
        return torch.optim.RMSprop(
            parameters,
            lr=learning_rate,
            alpha=self.alpha,
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            foreach=True,
            capturable=capturable(parameters),
        )
