"""Finds the nearest real images of generated samples, to check whether a generator memorised its training set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gramtune.pixels import to_uint8
from gramtune.stats.neighbours import nearest
from gramtune.training.config import TrialConfig
from gramtune.training.generator import load_generator
from gramtune.training.seeds import stream


@dataclass(frozen=True)
class Nearest:
    """The k real images that are nearest to each of n samples, nearest first."""

    images: Tensor  # uint8 [n, k, C, H, W]
    distances: Tensor  # [n, k]: root mean square difference of grey values, 0 to 255
    of: int
    """Number of searched images."""


@dataclass(frozen=True)
class Resemblance:
    """n samples and their nearest images in the training and in the held-out set."""

    samples: Tensor  # uint8 [n, C, H, W]
    train: Nearest
    held_out: Nearest


def resemblance(config: TrialConfig, checkpoint: Path, root: Path, replicate: int, n: int, k: int) -> Resemblance:
    """The first n samples of a replicate's previews, and their k nearest images in either set.

    Searches all images by the Euclidean distance of pixels. Raises CheckpointError; Unavailable if data are missing.
    """
    noise = config.network.noise(n, stream(config.training.seed + replicate, "preview"))
    with torch.inference_mode():
        samples = to_uint8(load_generator(config, checkpoint, replicate)(noise))
    return Resemblance(
        samples, _nearest(samples, config.data.train(root), k), _nearest(samples, config.data.held_out(root), k)
    )


def _nearest(samples: Tensor, images: Tensor, k: int) -> Nearest:
    found = nearest(samples, images, min(k, len(images)))
    return Nearest(images[found.indices], found.distances / samples[0].numel() ** 0.5, len(images))
