"""Data sets in memory: lent by another process, or read from disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from gramtune.components import Dataset

_CACHED_SETS = 8
"""Number of data sets cached on a device; a sweep may vary them without limit."""


@dataclass(frozen=True)
class Samples:
    """Both parts of a data set, and its fingerprint. The tensors may be read-only memory: never written in place."""

    fingerprint: str
    train: Tensor
    held_out: Tensor


def read_samples(dataset: Dataset, root: Path) -> Samples:
    """The data set from its files. Raises Unavailable if they are missing or damaged."""
    return Samples(dataset.fingerprint(root), dataset.train(root), dataset.held_out(root))


class Library:
    """The data sets of whoever trains one trial after another: a lent one is never read from disk."""

    def __init__(self) -> None:
        self._lent: dict[Dataset, Samples] = {}
        self._on_device = lru_cache(_CACHED_SETS)(self._read)

    def lend(self, dataset: Dataset, samples: Samples) -> None:
        """From now on these CPU tensors are used for `dataset`."""
        self._lent[dataset] = samples

    def is_lent(self, dataset: Dataset) -> bool:
        """Whether the data set was lent."""
        return dataset in self._lent

    def fingerprint(self, dataset: Dataset, root: Path) -> str:
        """The fingerprint of the samples that the methods below return."""
        return self._lent[dataset].fingerprint if dataset in self._lent else dataset.fingerprint(root)

    def train(self, dataset: Dataset, root: Path, device: torch.device) -> Tensor:
        """The training set on the device; without a copy on a CPU, cached on a GPU."""
        return self._on_device(dataset, self.fingerprint(dataset, root), root, device)

    def held_out(self, dataset: Dataset, root: Path) -> Tensor:
        """The held-out set, on CPU. Not cached: metrics need only its features."""
        return self._lent[dataset].held_out if dataset in self._lent else dataset.held_out(root)

    def _read(self, dataset: Dataset, fingerprint: str, root: Path, device: torch.device) -> Tensor:
        train = self._lent[dataset].train if dataset in self._lent else dataset.train(root)
        return train.to(device)
