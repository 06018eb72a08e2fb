"""Features for 8×8 digits: the last hidden layer of a small convolutional network trained on digit labels."""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load
from torch import nn

from gramtune.components import FeatureExtractor, Shape
from gramtune.registry import register

FEATURE_DIM = 64
WEIGHTS = "digits_cnn.safetensors"
"""Made by `python benchmarks/pretrain_digits_cnn.py`, which also prints the held-out accuracy."""


def backbone() -> nn.Sequential:
    """The network without weights: [B, 1, 8, 8] in [−1, 1] → [B, 64]."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 2 * 2, FEATURE_DIM),
        nn.ReLU(),
    )


@register
class DigitsCnn(FeatureExtractor):
    """64 features of a 1×8×8 digit; the weights are shipped with the package."""

    name: Literal["digits_cnn"] = "digits_cnn"

    @cached_property
    def _weights(self) -> bytes:
        return (files("gramtune.features") / WEIGHTS).read_bytes()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the shipped weights."""
        return "digits_cnn-" + hashlib.sha256(self._weights).hexdigest()[:16]

    def dim(self, shape: Shape) -> int:
        """64. Raises ValueError for anything but 1×8×8 images."""
        if tuple(shape) != (1, 8, 8):
            raise ValueError(f"feature extractor digits_cnn reads 1×8×8 images, not {'×'.join(map(str, shape))}")
        return FEATURE_DIM

    def load(self, root: Path, device: torch.device) -> nn.Module:
        """The shipped network, frozen."""
        network = backbone()
        network.load_state_dict(load(self._weights))
        return network.eval().requires_grad_(False).to(device)
