"""What metrics need of the real data: features and statistics, computed once and kept from trial to trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from gramtune.components import Component, Dataset, FeatureExtractor, Metric, Unavailable
from gramtune.pixels import to_float
from gramtune.plugins import code_of
from gramtune.training.reference_cache import FOLDER, cached
from gramtune.training.samples import Library

_CACHED_SETS = 16
"""Data sets, and metrics on them, whose results are cached; a sweep may vary them without limit."""


@dataclass(frozen=True)
class Source:
    """Everything that held-out features depend on: the content of a folder or weight file can change."""

    data: Dataset
    data_fingerprint: str
    extractor: FeatureExtractor
    extractor_fingerprint: str
    root: Path
    device: torch.device


class RealData:
    """The data sets, extractors and reference statistics of whoever trains one trial after another."""

    def __init__(self) -> None:
        self.library = Library()
        self._loaded = cache(_load)
        self._loaded_head = cache(_load_head)
        self._features = lru_cache(_CACHED_SETS)(self._read_features)
        self._statistics = lru_cache(_CACHED_SETS)(_stored_statistics)
        self._references = lru_cache(_CACHED_SETS)(self._compute_reference)

    def network(self, source: Source) -> nn.Module:
        """The extractor's network on the device."""
        return self._loaded(source.extractor, source.extractor_fingerprint, source.root, source.device)

    def head(self, source: Source) -> nn.Module:
        """The extractor's layers behind its trunk, on the device."""
        return self._loaded_head(source.extractor, source.extractor_fingerprint, source.root, source.device)

    def reference(self, metric: Metric, source: Source) -> Mapping[str, Tensor]:
        """The metric's reference statistics, on the device."""
        return self._references(metric, source)

    def _compute_reference(self, metric: Metric, source: Source) -> Mapping[str, Tensor]:
        if not metric.needs_real:
            return metric.reference(torch.empty(0, source.extractor.dim(source.data.shape)), source.data)
        if metric.against.endswith(".npz"):
            return self._statistics(metric, source, statistics_digest(metric, source.root))
        return _once(source, metric, lambda: metric.reference(self._features(source, metric.against), source.data))

    def _read_features(self, source: Source, part: str) -> Tensor:
        """Features of the `held_out` or the `train` set."""

        def compute() -> dict[str, Tensor]:
            if part == "held_out":
                samples = self.library.held_out(source.data, source.root).to(source.device)
            else:
                samples = self.library.train(source.data, source.root, source.device)
            return {"features": extract(self.network(source), samples)}

        return _once(source, None, compute, part)["features"]


@torch.inference_mode()
def extract(network: nn.Module, samples: Tensor, chunk: int = 512) -> Tensor:
    """Features [N, d] of samples [N, *shape], float or uint8; `chunk` of them at once, so that they fit in memory."""
    return torch.cat([network(to_float(part)) for part in samples.split(chunk)])


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


def _load(extractor: FeatureExtractor, fingerprint: str, root: Path, device: torch.device) -> nn.Module:
    return extractor.load(root, device)


def _load_head(extractor: FeatureExtractor, fingerprint: str, root: Path, device: torch.device) -> nn.Module:
    return extractor.load_head(root, device)


def _stored_statistics(metric: Metric, source: Source, digest: str) -> Mapping[str, Tensor]:
    found = metric.statistics(source.root / metric.against, source.extractor.dim(source.data.shape))
    return {name: tensor.to(source.device) for name, tensor in found.items()}


def _once(
    source: Source, metric: Metric | None, compute: Callable[[], Mapping[str, Tensor]], part: str = "held_out"
) -> dict[str, Tensor]:
    """Returns what `compute` returns, on the device; for images computed once per machine.

    Points are not cached: their features are the points themselves. Nothing is cached without a data root: only image
    features are expensive.
    """
    if source.data.kind != "image" or not source.root.is_dir():
        return dict(compute())
    tensors = cached(source.root / FOLDER / f"{_name(source, metric, part)}.safetensors", compute)
    return {name: tensor.to(source.device) for name, tensor in tensors.items()}


def _name(source: Source, metric: Metric | None, part: str) -> str:
    """A cache name that depends on everything that changes the tensors: data, weights, fields, device type, code."""
    parts: list[Component] = [source.extractor, *([metric] if metric else [])]
    key = [source.data.name, source.data_fingerprint, source.extractor_fingerprint, source.device.type]
    key += [each.model_dump_json(exclude={"every"}) for each in parts] + [_code(type(each)) for each in parts]
    key += [part] if part != "held_out" else []
    digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
    return "-".join([source.data.name, *(part.name for part in (source.extractor, metric) if part), digest])


def _code(cls: type[Component]) -> str:
    """Digest of the files that define a component: if they change, cached results are invalid."""
    modules = {base.__module__ for base in cls.__mro__ if issubclass(base, Component)}
    return hashlib.sha256(b"".join(code_of(module) for module in sorted(modules))).hexdigest()
