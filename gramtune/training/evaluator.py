"""Metrics of generated samples against the held-out set: features once, then every metric on them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gramtune.components import Dataset, FeatureExtractor, Metric
from gramtune.pixels import to_float, to_uint8
from gramtune.training.config import TrialConfig

_CHUNK = 512


def training_samples(dataset: Dataset, root: Path, device: torch.device) -> Tensor:
    """The training set on the device; loaded once per process, whichever trial asks."""
    return _training_samples(dataset, dataset.fingerprint(root), root, device)


class Evaluator:
    """Scores generated samples by the metrics of one configuration. Real-side work is cached per process."""

    def __init__(self, config: TrialConfig, root: Path, device: torch.device) -> None:
        self._metrics = config.metrics
        fingerprint = config.data.fingerprint(root)
        self._sources = {
            name: _Source(config.data, fingerprint, extractor, extractor.fingerprint, root, device)
            for name, extractor in config.extractors.items()
        }

    def scores(self, samples: Tensor) -> dict[str, float]:
        """Every metric of generated samples [N, *shape] (images in [−1, 1], rounded to 8 bits as in a file).

        Raises ArithmeticError, naming the metric, if a value is not finite, or if the samples are not.
        """
        if not samples.isfinite().all():  # as bytes, or counted by mode, they would pass for numbers
            raise ArithmeticError("generated samples are not finite")
        samples = to_float(to_uint8(samples)) if samples.dim() == 4 else samples
        scores: dict[str, float] = {}
        for name, source in self._sources.items():
            features = extract(_network(source), samples)
            for metric in (m for m in self._metrics if m.extractor == name):
                scores |= metric.compute(_reference(metric, source), features)
        for key, value in scores.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{key} is {value}")
        return scores


@torch.inference_mode()
def extract(network: nn.Module, samples: Tensor) -> Tensor:
    """Features [N, d] of samples [N, *shape], float or uint8, in chunks that fit in memory."""
    return torch.cat([network(to_float(chunk)) for chunk in samples.split(_CHUNK)])


class _Source(NamedTuple):
    """All that held-out features depend on: a folder of images, or a weight file, may change under its name."""

    data: Dataset
    data_fingerprint: str
    extractor: FeatureExtractor
    extractor_fingerprint: str
    root: Path
    device: torch.device


@cache
def _training_samples(dataset: Dataset, fingerprint: str, root: Path, device: torch.device) -> Tensor:
    return dataset.train(root).to(device)


def _network(source: _Source) -> nn.Module:
    return _load(source.extractor, source.extractor_fingerprint, source.root, source.device)


@cache
def _load(extractor: FeatureExtractor, fingerprint: str, root: Path, device: torch.device) -> nn.Module:
    return extractor.load(root, device)


@cache
def _held_out_features(source: _Source) -> Tensor:
    return extract(_network(source), source.data.held_out(source.root).to(source.device))


@cache
def _reference(metric: Metric, source: _Source) -> Any:
    if metric.needs_real:
        features = _held_out_features(source)
    else:
        features = torch.empty(0, source.extractor.dim(source.data.shape))
    return metric.reference(features, source.data)
