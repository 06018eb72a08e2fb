"""Metrics of generated samples against the held-out set: features once, then every metric on them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gramtune.components import Dataset, FeatureExtractor, Metric
from gramtune.pixels import to_float, to_uint8
from gramtune.training.config import TrialConfig

_CHUNK = 512


@cache
def training_samples(dataset: Dataset, root: Path, device: torch.device) -> Tensor:
    """The training set on the device; loaded once per process, whichever trial asks."""
    return dataset.train(root).to(device)


class Evaluator:
    """Scores generated samples by the metrics of one configuration. Real-side work is cached per process."""

    def __init__(self, config: TrialConfig, root: Path, device: torch.device) -> None:
        self._config, self._root, self._device = config, root, device

    def scores(self, samples: Tensor) -> dict[str, float]:
        """Every metric of generated samples [N, *shape] (images in [−1, 1], rounded to 8 bits as in a file).

        Raises ArithmeticError, naming the metric, if a value is not finite.
        """
        samples = to_float(to_uint8(samples)) if samples.dim() == 4 else samples
        scores: dict[str, float] = {}
        for name, extractor in self._config.extractors.items():
            features = extract(_network(extractor, self._root, self._device), samples)
            for metric in (m for m in self._config.metrics if m.extractor == name):
                reference = _reference(metric, extractor, self._config.data, self._root, self._device)
                scores |= metric.compute(reference, features)
        for key, value in scores.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{key} is {value}")
        return scores


@torch.inference_mode()
def extract(network: nn.Module, samples: Tensor) -> Tensor:
    """Features [N, d] of float samples [N, *shape], in chunks that fit in memory."""
    return torch.cat([network(chunk) for chunk in samples.split(_CHUNK)])


@cache
def _network(extractor: FeatureExtractor, root: Path, device: torch.device) -> nn.Module:
    return extractor.load(root, device)


@cache
def _reference(metric: Metric, extractor: FeatureExtractor, data: Dataset, root: Path, device: torch.device) -> Any:
    held_out = to_float(data.held_out(root)).to(device)
    return metric.reference(extract(_network(extractor, root, device), held_out))
