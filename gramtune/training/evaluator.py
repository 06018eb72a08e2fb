"""Metrics of generated samples against the held-out set: features once, then every metric on them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gramtune.components import Component, Dataset, FeatureExtractor, Metric
from gramtune.pixels import to_float, to_uint8
from gramtune.plugins import code_of
from gramtune.training.config import TrialConfig
from gramtune.training.reference_cache import FOLDER, cached
from gramtune.training.samples import fingerprint, held_out_samples

_CHUNK = 512
_CACHED_SETS = 16
"""Data sets, and metrics on them, whose results a process caches; a sweep may vary them without limit."""


class Evaluator:
    """Scores generated samples by the metrics of one configuration. Real-side work is done once per machine."""

    def __init__(self, config: TrialConfig, root: Path, device: torch.device) -> None:
        self._metrics = config.metrics
        print_of_data = fingerprint(config.data, root)
        self._sources = {
            name: _Source(config.data, print_of_data, extractor, extractor.fingerprint, root, device)
            for name, extractor in config.extractors.items()
        }

    def scores(self, samples: Tensor) -> dict[str, float]:
        """Every metric of generated samples [N, *shape] (images in [−1, 1], rounded to 8 bits as in a file).

        Raises ArithmeticError, naming the metric, if a value is not finite, or if the samples are not.
        """
        if not samples.isfinite().all():  # non-finite samples would become valid bytes, or be counted by mode
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
    """Everything that held-out features depend on: the content of a folder or weight file can change."""

    data: Dataset
    data_fingerprint: str
    extractor: FeatureExtractor
    extractor_fingerprint: str
    root: Path
    device: torch.device


def _network(source: _Source) -> nn.Module:
    return _load(source.extractor, source.extractor_fingerprint, source.root, source.device)


@cache
def _load(extractor: FeatureExtractor, fingerprint: str, root: Path, device: torch.device) -> nn.Module:
    return extractor.load(root, device)


@lru_cache(_CACHED_SETS)
def _held_out_features(source: _Source) -> Tensor:
    def compute() -> dict[str, Tensor]:
        return {"features": extract(_network(source), held_out_samples(source.data, source.root).to(source.device))}

    return _once(source, None, compute)["features"]


@lru_cache(_CACHED_SETS)
def _reference(metric: Metric, source: _Source) -> Mapping[str, Tensor]:
    if not metric.needs_real:
        return metric.reference(torch.empty(0, source.extractor.dim(source.data.shape)), source.data)
    return _once(source, metric, lambda: metric.reference(_held_out_features(source), source.data))


def _once(source: _Source, metric: Metric | None, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns what `compute` returns, on the device; for images computed once per machine.

    Points are not cached: their features are the points themselves. Nothing is cached without a data root: only image
    features are expensive.
    """
    if len(source.data.shape) != 3 or not source.root.is_dir():
        return dict(compute())
    tensors = cached(source.root / FOLDER / f"{_name(source, metric)}.safetensors", compute)
    return {name: tensor.to(source.device) for name, tensor in tensors.items()}


def _name(source: _Source, metric: Metric | None) -> str:
    """A name that changes when the tensors change: with data, weights, fields, kind of device and gramtune's code."""
    parts: list[Component] = [source.extractor, *([metric] if metric else [])]
    key = [source.data.name, source.data_fingerprint, source.extractor_fingerprint, source.device.type]
    key += [part.model_dump_json() for part in parts] + [_code(type(part)) for part in parts]
    digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
    return "-".join([source.data.name, *(part.name for part in (source.extractor, metric) if part), digest])


@cache
def _code(cls: type[Component]) -> str:
    """Digest of the files that define a component: if they change, cached results are invalid."""
    modules = {base.__module__ for base in cls.__mro__ if issubclass(base, Component)}
    return hashlib.sha256(b"".join(code_of(module) for module in sorted(modules))).hexdigest()
