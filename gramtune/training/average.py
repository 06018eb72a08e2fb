"""The exponential moving average of the generators' weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from gramtune.training.networks import Stack


class WeightAverage:
    """w̄ ← d·w̄ + (1 − d)·w after each training step, of all parameters w and BatchNorm's running statistics.

    d = min(decay, (1 + t)/(10 + t)) in step t, from 0, so the initial weights are forgotten within a few steps for any
    decay. The average starts at the initial weights. A frozen replicate keeps its average.
    """

    def __init__(self, source: Stack, decay: float) -> None:
        self.stack = Stack([copy.deepcopy(network) for network in source.networks])
        """The averaged generators."""
        self._source, self._decay = source, decay
        self._weight = torch.zeros((), device=source.values.device)  # a recorded CUDA graph would repeat a number

    def prepare(self, step: int) -> None:
        """Sets the weight of step number `step`. Call it before the step, outside a CUDA graph."""
        self._weight.fill_(1 - min(self._decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Updates the averages. Call it after the generators' step."""
        with self.stack.updating():
            self.stack.values.lerp_(self._source.values, self._weight)
        for mine, network in zip(self.stack.networks, self._source.networks, strict=True):
            for average, value in zip(mine.buffers(), network.buffers(), strict=True) if mine.training else ():
                if average.is_floating_point():
                    average.lerp_(value, self._weight)
                else:
                    average.copy_(value)

    def state_dict(self, replicate: int) -> dict[str, Tensor]:
        """The averaged generator of one replicate."""
        return self.stack.state_dict(replicate)

    def load_state_dict(self, replicate: int, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.stack.load_state_dict(replicate, state)
