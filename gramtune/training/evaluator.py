"""Computes metrics of generated samples against the held-out set: features once, then every metric on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gramtune.components import Metric
from gramtune.pixels import to_float, to_uint8
from gramtune.training.config import TrialConfig
from gramtune.training.real_data import RealData, Source, extract


class Evaluator:
    """Computes the metrics of one configuration.

    `real` has what earlier trials have computed of the data; None: nothing yet.
    """

    def __init__(self, config: TrialConfig, root: Path, device: torch.device, real: RealData | None = None) -> None:
        self._metrics, self._kind, self._real = config.metrics, config.data.kind, real or RealData()
        print_of_data = self._real.library.fingerprint(config.data, root)
        self._sources = {
            name: Source(config.data, print_of_data, extractor, extractor.fingerprint, root, device)
            for name, extractor in config.extractors.items()
        }

    def scores(self, samples: Tensor, metrics: Sequence[Metric] | None = None) -> dict[str, float]:
        """Every metric, or these metrics, of generated samples [N, *shape], except values of the training.

        Images in [−1, 1] are rounded to 8 bits as in a file.
        Raises ArithmeticError, naming the metric, if a value is not finite, or if the samples are not.
        """
        if not samples.isfinite().all():  # non-finite samples would become valid bytes, or be counted by mode
            raise ArithmeticError("generated samples are not finite")
        samples = to_float(to_uint8(samples)) if self._kind == "image" else samples
        scores: dict[str, float] = {}
        features: dict[str, Tensor] = {}
        for metric in self._metrics if metrics is None else metrics:
            if not metric.needs_samples:
                continue
            real = self._real.reference(metric, self._sources[metric.extractor])
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
                found[name] = extract(self._real.head(source), self._features(trunk, samples, found))
            else:
                found[name] = extract(self._real.network(source), samples)
        return found[name]
