"""Draws minibatches: with replacement, or from shuffled epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Sampling = Literal["with_replacement", "epochs"]


def check_epochs(batch_size: int, n: int) -> None:
    """Raises ValueError if a minibatch is larger than an epoch of n samples."""
    if batch_size > n:
        rule = f"at most the {n} training samples where training.sampling is epochs"
        raise ValueError(f"training.batch_size = {batch_size} should be {rule}")


class Batches(ABC):
    """Indices of the minibatches of R replicates, B of n samples each; replicate i draws only from stream i."""

    def __init__(self, n: int, size: int, streams: Sequence[torch.Generator]) -> None:
        self._n, self._size, self._streams = n, size, streams

    @abstractmethod
    def prepare(self) -> None:
        """Call this before each step, outside the step: a step may be a recorded CUDA graph."""

    @abstractmethod
    def indices(self) -> Tensor:
        """The minibatches of one step, [R, B]. Call this within the step, once."""

    @abstractmethod
    def state_dict(self, i: int) -> dict[str, Any]:
        """The state that `load_state_dict` needs in addition to the state of stream i."""

    @abstractmethod
    def load_state_dict(self, i: int, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; restore stream i first. Raises ValueError for the state of another sampling."""


class WithReplacement(Batches):
    """Independent draws, made within the step, so that a CUDA graph contains them."""

    def prepare(self) -> None:
        """No-op."""

    def indices(self) -> Tensor:
        """Uniform on 0 … n − 1: [R, B]."""
        draws = [torch.randint(self._n, (self._size,), generator=rng, device=rng.device) for rng in self._streams]
        return torch.stack(draws)

    def state_dict(self, i: int) -> dict[str, Any]:
        """Returns an empty state: no index depends on earlier ones."""
        return {}

    def load_state_dict(self, i: int, state: Mapping[str, Any]) -> None:
        """Does nothing. Raises ValueError for the state of `Epochs`."""
        if state:
            raise ValueError(_other_sampling("epochs", "with_replacement"))


class Epochs(Batches):
    """Shuffled epochs without replacement: one permutation of the n samples after another, cut into minibatches of B.

    No sample is dropped. The last minibatch of an epoch is filled from the beginning of the next epoch, so it can
    hold a sample twice, unless n is a multiple of B. Raises ValueError for B > n.
    """

    def __init__(self, n: int, size: int, streams: Sequence[torch.Generator]) -> None:
        check_epochs(size, n)
        super().__init__(n, size, streams)
        device = streams[0].device
        self._next = torch.empty(
            len(streams), size, dtype=torch.long, device=device
        )  # a CUDA graph needs a fixed address
        self._began = [rng.get_state() for rng in streams]
        self._orders = [self._shuffled(i) for i in range(len(streams))]
        self._positions = [0] * len(streams)

    def prepare(self) -> None:
        """Draws the minibatches of the next step."""
        torch.stack([self._draw(i) for i in range(len(self._streams))], out=self._next)

    def indices(self) -> Tensor:
        """The minibatches that `prepare` drew: [R, B]. Its next call overwrites them."""
        return self._next

    def state_dict(self, i: int) -> dict[str, Any]:
        """The stream as it was before the current epoch's permutation, and how much of the epoch is used."""
        return {"began": self._began[i].clone(), "position": self._positions[i]}

    def load_state_dict(self, i: int, state: Mapping[str, Any]) -> None:
        """Draws the permutation of that epoch once more."""
        if not state:
            raise ValueError(_other_sampling("with_replacement", "epochs"))
        self._streams[i].set_state(state["began"].cpu())
        self._begin(i)
        self._positions[i] = state["position"]

    def _draw(self, i: int) -> Tensor:
        """The next B indices of replicate i."""
        order, start = self._orders[i], self._positions[i]
        missing = start + self._size - self._n
        if missing <= 0:
            self._positions[i] = start + self._size
            return order[start : start + self._size]
        self._begin(i)
        self._positions[i] = missing
        return torch.cat((order[start:], self._orders[i][:missing]))

    def _begin(self, i: int) -> None:
        self._began[i] = self._streams[i].get_state()
        self._orders[i] = self._shuffled(i)

    def _shuffled(self, i: int) -> Tensor:
        rng = self._streams[i]
        return torch.randperm(self._n, generator=rng, device=rng.device)


def _other_sampling(written: Sampling, wanted: Sampling) -> str:
    return f"the checkpoint was written with training.sampling = {written}; this configuration has {wanted}"


BATCHES: dict[Sampling, type[Batches]] = {"with_replacement": WithReplacement, "epochs": Epochs}
"""The class for each value of `training.sampling`."""
