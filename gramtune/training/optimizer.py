"""The optimisers of the paper, as configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
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


Row = list[dict[str, Tensor]]
"""What an optimiser remembers of one replicate, for each of the matrices [R, P] that it steps."""


def row(optimizer: torch.optim.Optimizer, i: int) -> Row:
    """Moments and step counts of replicate i; empty before the first step."""
    parameters = optimizer.param_groups[0]["params"]
    return [
        {name: (value[i] if value.dim() else value).clone() for name, value in optimizer.state[parameter].items()}
        for parameter in parameters
    ]


def load_rows(optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> None:
    """Restores the moments and step counts of all replicates, but keeps the hyperparameters of `optimizer`.

    A restored learning rate would be the old one, and a changed one would never reach the model. A replicate without
    a state, because it diverged before the first step, gets zeros. Raises ValueError for another number of matrices.
    """
    count = len(optimizer.param_groups[0]["params"])
    if any(len(each) != count for each in rows):
        raise ValueError(f"the checkpoint's optimiser has {len(rows[0])} parameter matrices, this one {count}")
    stacked = {i: _stacked([each[i] for each in rows]) for i in range(count)}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": {i: state for i, state in stacked.items() if state}, "param_groups": groups})


def _stacked(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    known = max(states, key=len)
    columns = {name: [state.get(name, torch.zeros_like(like)) for state in states] for name, like in known.items()}
    return {name: torch.stack(column) if known[name].dim() else max(column) for name, column in columns.items()}
