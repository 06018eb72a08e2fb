"""RMSprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from gramtune.components import Optimizer
from gramtune.optimizers._fields import Decay, capturable
from gramtune.registry import register


@register
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Decay = 0.99

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """One kernel for all parameters."""
        return torch.optim.RMSprop(
            parameters, lr=learning_rate, alpha=self.alpha, foreach=True, capturable=capturable(parameters)
        )
