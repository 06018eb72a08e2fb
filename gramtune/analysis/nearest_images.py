"""Finds the nearest real images to generated images of a trial, from its newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gramtune.analysis.checkpoints import best_replicate
from gramtune.components import Unavailable
from gramtune.record.layout import judged_checkpoints, part_of
from gramtune.record.state import TrialRecord
from gramtune.training.resemblance import Nearest, resemblance
from gramtune.training.trainer import CheckpointError

Images = NDArray[np.uint8]
"""[…, H, W, C], or […, H, W] for grey images."""


@dataclass(frozen=True)
class Neighbours:
    """The k real images that are nearest to each of n samples, nearest first."""

    images: Images  # [n, k, …]
    distances: NDArray[np.floating]  # [n, k]: root mean square difference of grey values, 0 to 255
    of: int
    """Number of images searched."""


@dataclass(frozen=True)
class NearestImages:
    """n samples of one replicate at one step, and their neighbours in the training and held-out sets."""

    replicate: int
    step: int
    samples: Images  # [n, …]
    train: Neighbours
    held_out: Neighbours


def nearest_images(record: TrialRecord, folder: Path, root: Path, n: int = 10, k: int = 3) -> NearestImages | None:
    """The nearest images of the best replicate; None for points, without a readable checkpoint, or without the data."""
    config = record.trial.config
    if config.data.kind != "image":
        return None
    replicate = best_replicate(record) or 0
    first, place = part_of(folder, record, replicate)
    part = record.trial.since(first).config
    for checkpoint in judged_checkpoints(place):
        try:
            found = resemblance(part, checkpoint, root, replicate - first, n, k)
        except (CheckpointError, Unavailable):
            continue
        step = int(checkpoint.stem.rsplit("-", 1)[-1])
        return NearestImages(replicate, step, _images(found.samples), _side(found.train), _side(found.held_out))
    return None


def _side(found: Nearest) -> Neighbours:
    return Neighbours(_images(found.images), found.distances.numpy(), found.of)


def _images(images: Tensor) -> Images:
    last: Images = images.movedim(-3, -1).numpy()
    return last.squeeze(-1) if last.shape[-1] == 1 else last
