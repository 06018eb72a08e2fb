"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from gramtune.components import Optimizer
from gramtune.optimizers._fields import Decay, WeightDecay
from gramtune.registry import register


@register
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum (Polyak 1964), or Nesterov's (Sutskever et al. 2013)."""

    name: Literal["sgd"] = "sgd"
    momentum: Decay = 0.0
    nesterov: bool = False
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _has_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float | Tensor) -> torch.optim.Optimizer:
        """Fused: one kernel for all parameters, on CPU and GPU."""
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )
