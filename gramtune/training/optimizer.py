"""The optimisers of the paper, as configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from gramtune.components import Component

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Component, ABC):
    """How generator and critic are stepped; each network has an optimiser of its own with the same settings."""

    name: str
    learning_rate: PositiveFloat
    critic_learning_rate: PositiveFloat | None = None
    """The critic's learning rate where it differs."""

    @abstractmethod
    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""

    def for_generator(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps γ."""
        return self.build(parameters, self.learning_rate)

    def for_critic(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps θ."""
        return self.build(parameters, self.critic_learning_rate or self.learning_rate)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    beta1: Decay = 0.5
    beta2: Decay = 0.999

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Fused: one kernel for all parameters, on CPU and GPU."""
        betas, capturable = (self.beta1, self.beta2), _capturable(parameters)
        return torch.optim.Adam(parameters, lr=learning_rate, betas=betas, fused=True, capturable=capturable)


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Decay = 0.99

    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """One kernel for all parameters."""
        capturable = _capturable(parameters)
        return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=self.alpha, foreach=True, capturable=capturable)


def _capturable(parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether a CUDA graph may be made of their update, for which the optimiser counts its steps on the GPU."""
    return parameters[0].is_cuda


Row = list[dict[str, Tensor]]
"""What an optimiser remembers of one replicate, for each of its networks that it steps: moments [P], step counts []."""


def row(optimizer: torch.optim.Optimizer, i: int, replicates: int) -> Row:
    """Moments and step counts of replicate i; empty before the first step."""
    parameters = optimizer.param_groups[0]["params"][i::replicates]
    return [{name: value.clone() for name, value in optimizer.state[parameter].items()} for parameter in parameters]


def load_rows(optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> None:
    """Restores the moments and step counts of all replicates, but keeps the hyperparameters of `optimizer`.

    A restored learning rate would be the old one, and a changed one would never reach the model.
    Raises ValueError for another number of networks.
    """
    count, r = len(optimizer.param_groups[0]["params"]), len(rows)
    if any(len(each) * r != count for each in rows):
        raise ValueError(f"the checkpoint's optimiser steps {len(rows[0])} networks, this one {count // r}")
    state = {k * r + i: each[k] for i, each in enumerate(rows) for k in range(len(each)) if each[k]}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
