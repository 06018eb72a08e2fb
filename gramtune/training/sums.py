"""Means of losses and traces over training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Sums:
    """Sums over steps of the losses and traces of each live replicate."""

    def __init__(self) -> None:
        self._keys: tuple[str, ...] = ()
        self._sums: Tensor | None = None

    def add(self, traces: Mapping[str, Tensor], live: Sequence[int]) -> None:
        """Adds one step of the live replicates."""
        self._keys, values = tuple(traces), torch.stack(list(traces.values()))
        if self._sums is None:
            self._sums = torch.zeros_like(values)
        if len(live) == values.shape[1]:
            self._sums += values
        else:
            self._sums[:, live] += values[:, live]

    def copy(self) -> Tensor | None:
        """A copy of the state, for `load`."""
        return self._sums.clone() if self._sums is not None else None

    def load(self, copy: Tensor | None) -> None:
        """Inverse of `copy`."""
        self._sums = copy

    def means(self, taken: Sequence[int]) -> list[dict[str, float]]:
        """Means by replicate; empty for a replicate without a step."""
        columns = self._sums.T.tolist() if self._sums is not None else [[]] * len(taken)
        return [
            {key: total / steps for key, total in zip(self._keys, column, strict=True)} if steps else {}
            for column, steps in zip(columns, taken, strict=True)
        ]
