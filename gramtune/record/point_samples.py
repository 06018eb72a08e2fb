"""Point sets that a trial stores at each evaluation: data, generated samples, and the critic's features of both."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.torch import save

from gramtune.components import View
from gramtune.io import write_atomically

Array = NDArray[np.float32]


class PointSamples(NamedTuple):
    """n data and n generated points of each of R replicates in d dimensions, and their critic features, if any."""

    real: Array  # [R, n, d]
    fake: Array  # [R, n, d]
    real_features: Array | None = None  # [R, n, K]
    fake_features: Array | None = None  # [R, n, K]


def write_points(path: Path, real: View, fake: View) -> None:
    """Writes one safetensors file, atomically; equal points give equal bytes. Raises DiskFull."""
    parts = (real.samples, fake.samples, real.features, fake.features)
    tensors = {
        name: tensor.float().cpu().contiguous()
        for name, tensor in zip(PointSamples._fields, parts, strict=True)
        if tensor is not None
    }
    # Not `save_file`: `write_atomically` cannot recognise its error for a full disk.
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors)))


def read_points(path: Path) -> PointSamples | None:
    """Reads what `write_points` wrote; None if the file is unreadable."""
    try:
        return PointSamples(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None


def point_samples(folder: Path) -> dict[int, Path]:
    """The files in a trial's folder by training step, ascending."""
    files = sorted((folder / "samples").glob("step-*.safetensors"))
    return {int(path.stem.removeprefix("step-")): path for path in files}
