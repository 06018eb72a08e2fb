"""Shares data sets through Ray's object store: one copy per node for any number of trials.

The driver reads each data set once. Ray passes NumPy arrays to the processes of a node as views of shared, read-only
memory; it would copy torch tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gramtune.backends.ray.quiet import ray
from gramtune.components import Dataset
from gramtune.training.samples import Library, Samples, read_samples

Refs = Mapping[str, Any]
"""Ray's references by data set, in JSON."""


def put(datasets: Iterable[Dataset], root: Path) -> Refs:
    """Puts the data sets into the object store, on the driver. Raises Unavailable if a file is missing or damaged."""
    return {dataset.model_dump_json(): _put(read_samples(dataset, root)) for dataset in datasets}


def borrow(dataset: Dataset, refs: Refs, library: Library) -> None:
    """Lends the node's copy of `dataset` to the library; a no-op if the driver stored none."""
    if library.is_lent(dataset) or dataset.model_dump_json() not in refs:
        return
    fingerprint, train, held_out = ray.get(refs[dataset.model_dump_json()])
    library.lend(dataset, Samples(fingerprint, _tensor(train), _tensor(held_out)))


def _put(samples: Samples) -> Any:
    return ray.put((samples.fingerprint, samples.train.contiguous().numpy(), samples.held_out.contiguous().numpy()))


def _tensor(array: Any) -> Tensor:
    """The array's memory as a tensor. Silences torch's warning about read-only memory: nothing writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
