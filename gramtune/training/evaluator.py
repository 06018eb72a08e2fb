"""Computes metrics of generated samples against the held-out set: features once, then every metric on them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gramtune.components import Component, Dataset, FeatureExtractor, Metric, Unavailable
from gramtune.pixels import to_float, to_uint8
from gramtune.plugins import code_of
from gramtune.training.config import TrialConfig
from gramtune.training.reference_cache import FOLDER, cached
from gramtune.training.samples import fingerprint, held_out_samples, training_samples

_CHUNK = 512
_CACHED_SETS = 16
"""Data sets, and metrics on them, whose results a process caches; a sweep may vary them without limit."""


class Evaluator:
    """Computes the metrics of one configuration. Statistics of the real data are computed once per machine."""

    def __init__(self, config: TrialConfig, root: Path, device: torch.device) -> None:
        self._metrics, self._kind = config.metrics, config.data.kind
        print_of_data = fingerprint(config.data, root)
        self._sources = {
            name: _Source(config.data, print_of_data, extractor, extractor.fingerprint, root, device)
            for name, extractor in config.extractors.items()
        }

    def scores(self, samples: Tensor, metrics: Sequence[Metric] | None = None) -> dict[str, float]:
        """Every metric, or these metrics, of generated samples [N, *shape].

        Images in [−1, 1] are rounded to 8 bits as in a file.
        Raises ArithmeticError, naming the metric, if a value is not finite, or if the samples are not.
        """
        if not samples.isfinite().all():  # non-finite samples would become valid bytes, or be counted by mode
            raise ArithmeticError("generated samples are not finite")
        samples = to_float(to_uint8(samples)) if self._kind == "image" else samples
        scores: dict[str, float] = {}
        features: dict[str, Tensor] = {}
        for metric in self._metrics if metrics is None else metrics:
            real = _reference(metric, self._sources[metric.extractor])
            scores |= metric.compute(real, self._features(metric.extractor, samples, features))
        for key, value in scores.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{key} is {value}")
        return scores

    def _features(self, name: str, samples: Tensor, found: dict[str, Tensor]) -> Tensor:
        """Features of one extractor, computed once; from its trunk's features if a metric needs those too."""
        if name not in found:
            source = self._sources[name]
            trunk = source.extractor.trunk
            if trunk in self._sources:
                found[name] = extract(_head(source), self._features(trunk, samples, found))
            else:
                found[name] = extract(_network(source), samples)
        return found[name]


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


def _head(source: _Source) -> nn.Module:
    return _load_head(source.extractor, source.extractor_fingerprint, source.root, source.device)


@cache
def _load_head(extractor: FeatureExtractor, fingerprint: str, root: Path, device: torch.device) -> nn.Module:
    return extractor.load_head(root, device)


@lru_cache(_CACHED_SETS)
def _real_features(source: _Source, part: str) -> Tensor:
    """Features of the `held_out` or the `train` set."""

    def compute() -> dict[str, Tensor]:
        held_out = part == "held_out"
        samples = (
            held_out_samples(source.data, source.root).to(source.device)
            if held_out
            else training_samples(source.data, source.root, source.device)
        )
        return {"features": extract(_network(source), samples)}

    return _once(source, None, compute, part)["features"]


def statistics_digest(metric: Metric, root: Path) -> str:
    """Digest of the file that the metric compares with; empty if it compares with a data set. Raises Unavailable."""
    if not metric.against.endswith(".npz"):
        return ""
    path = root / metric.against
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise Unavailable(f"metric {metric.name}: {path} cannot be read ({error.strerror or error})") from error


@lru_cache(_CACHED_SETS)
def _stored_statistics(metric: Metric, source: _Source, digest: str) -> Mapping[str, Tensor]:
    found = metric.statistics(source.root / metric.against, source.extractor.dim(source.data.shape))
    return {name: tensor.to(source.device) for name, tensor in found.items()}


@lru_cache(_CACHED_SETS)
def _reference(metric: Metric, source: _Source) -> Mapping[str, Tensor]:
    if not metric.needs_real:
        return metric.reference(torch.empty(0, source.extractor.dim(source.data.shape)), source.data)
    if metric.against.endswith(".npz"):
        return _stored_statistics(metric, source, statistics_digest(metric, source.root))
    return _once(source, metric, lambda: metric.reference(_real_features(source, metric.against), source.data))


def _once(
    source: _Source, metric: Metric | None, compute: Callable[[], Mapping[str, Tensor]], part: str = "held_out"
) -> dict[str, Tensor]:
    """Returns what `compute` returns, on the device; for images computed once per machine.

    Points are not cached: their features are the points themselves. Nothing is cached without a data root: only image
    features are expensive.
    """
    if source.data.kind != "image" or not source.root.is_dir():
        return dict(compute())
    tensors = cached(source.root / FOLDER / f"{_name(source, metric, part)}.safetensors", compute)
    return {name: tensor.to(source.device) for name, tensor in tensors.items()}


def _name(source: _Source, metric: Metric | None, part: str) -> str:
    """A cache name that depends on everything that changes the tensors: data, weights, fields, device type, code."""
    parts: list[Component] = [source.extractor, *([metric] if metric else [])]
    key = [source.data.name, source.data_fingerprint, source.extractor_fingerprint, source.device.type]
    key += [each.model_dump_json(exclude={"every"}) for each in parts] + [_code(type(each)) for each in parts]
    key += [part] if part != "held_out" else []
    digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
    return "-".join([source.data.name, *(part.name for part in (source.extractor, metric) if part), digest])


@cache
def _code(cls: type[Component]) -> str:
    """Digest of the files that define a component: if they change, cached results are invalid."""
    modules = {base.__module__ for base in cls.__mro__ if issubclass(base, Component)}
    return hashlib.sha256(b"".join(code_of(module) for module in sorted(modules))).hexdigest()
