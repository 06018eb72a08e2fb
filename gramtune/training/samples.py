"""Data sets of this process: lent by its parent process, or read from disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gramtune.components import Dataset

_CACHED_SETS = 8
"""Number of data sets cached on a device; a sweep may vary them without limit."""


class Samples(NamedTuple):
    """Both parts of a data set, and its fingerprint. The tensors may be read-only memory: never written in place."""

    fingerprint: str
    train: Tensor
    held_out: Tensor


_lent: dict[Dataset, Samples] = {}


def read_samples(dataset: Dataset, root: Path) -> Samples:
    """The data set from its files. Raises Unavailable if they are missing or damaged."""
    return Samples(dataset.fingerprint(root), dataset.train(root), dataset.held_out(root))


def lend(dataset: Dataset, samples: Samples) -> None:
    """This process now uses these CPU tensors for `dataset` and never reads its files."""
    _lent[dataset] = samples


def is_lent(dataset: Dataset) -> bool:
    """Whether the data set was lent to this process."""
    return dataset in _lent


def fingerprint(dataset: Dataset, root: Path) -> str:
    """The fingerprint of the samples that the functions below return."""
    return _lent[dataset].fingerprint if dataset in _lent else dataset.fingerprint(root)


def training_samples(dataset: Dataset, root: Path, device: torch.device) -> Tensor:
    """The training set on the device; without a copy on a CPU, cached once per process on a GPU."""
    return _training_samples(dataset, fingerprint(dataset, root), root, device)


def held_out_samples(dataset: Dataset, root: Path) -> Tensor:
    """The held-out set, on CPU. Not cached: metrics need only its features."""
    return _lent[dataset].held_out if dataset in _lent else dataset.held_out(root)


@lru_cache(_CACHED_SETS)
def _training_samples(dataset: Dataset, fingerprint: str, root: Path, device: torch.device) -> Tensor:
    train = _lent[dataset].train if dataset in _lent else dataset.train(root)
    return train.to(device)
