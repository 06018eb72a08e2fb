"""The optimisers of the paper, as configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat

from gramtune.components import Component

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Component, ABC):
    """How generator and critic are stepped; each network has an optimiser of its own with the same settings."""

    name: str
    learning_rate: PositiveFloat
    critic_learning_rate: PositiveFloat | None = None
    """The critic's learning rate where it differs."""

    @abstractmethod
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""

    def for_generator(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps γ."""
        return self.build(parameters, self.learning_rate)

    def for_critic(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps θ."""
        return self.build(parameters, self.critic_learning_rate or self.learning_rate)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    beta1: Decay = 0.5
    beta2: Decay = 0.999

    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Fused: one kernel for all parameters, on CPU and GPU."""
        return torch.optim.Adam(parameters, lr=learning_rate, betas=(self.beta1, self.beta2), fused=True)


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Decay = 0.99

    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """One kernel for all parameters."""
        return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=self.alpha, foreach=True)


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restores moments and step counts, but keeps the hyperparameters that `optimizer` was built with.

    `load_state_dict` alone brings back the old learning rate, and a changed one would never reach the model.
    """
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, mine in zip(optimizer.param_groups, settings, strict=True):
        group.update(mine)
