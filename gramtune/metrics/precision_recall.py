"""Improved precision and recall (Kynkäänniemi et al. 2019): are samples realistic, and do they cover the data?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import PositiveInt
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register
from gramtune.stats.neighbours import covered, nearest


@dataclass(frozen=True)
class Manifold:
    """The union of balls around features [N, d]; the radius of each, [N], is the distance to its k-th neighbour."""

    features: Tensor
    radii: Tensor

    def share_covered(self, features: Tensor) -> float:
        """Share of `features` [M, d] on the manifold."""
        return covered(features, self.features, self.radii).double().mean().item()


def manifold(features: Tensor, k: int) -> Manifold:
    """Estimates the support of a distribution from its features. Raises ValueError for k features or fewer."""
    return Manifold(features, nearest(features, features, k + 1).distances[:, k])  # the nearest is the point itself


class PrecisionRecall(Metric):
    """precision: share of samples on the data's manifold; recall: share of held-out data on the samples' manifold."""

    suffix: ClassVar[str]
    neighbours: PositiveInt = 3

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Higher is better."""
        return {f"precision{self.suffix}": "max", f"recall{self.suffix}": "max"}

    @property
    def least(self) -> tuple[int, int]:
        """k + 1 of each: every sample needs a k-th neighbour in its own set."""
        return self.neighbours + 1, self.neighbours + 1

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """k + 1 samples: each needs a k-th neighbour."""
        return self.neighbours + 1, f"there is no {self.neighbours}-th neighbour"

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """The manifold of the held-out features [M, d]."""
        return vars(manifold(real, self.neighbours))

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{precision, recall} for generated features [N, d]. Raises ValueError if there are k or fewer."""
        real, sampled = Manifold(**reference), manifold(fake, self.neighbours)
        return {
            f"precision{self.suffix}": real.share_covered(fake),
            f"recall{self.suffix}": sampled.share_covered(real.features),
        }


@register
class InceptionPrecisionRecall(PrecisionRecall):
    """On Inception's pool3 features. The authors use VGG-16, so compare only with values from Inception features."""

    extractor: ClassVar[str] = "inception"
    suffix: ClassVar[str] = ""
    name: Literal["precision_recall"] = "precision_recall"


@register
class DigitsPrecisionRecall(PrecisionRecall):
    """Precision and recall on the shipped digit features."""

    extractor: ClassVar[str] = "digits_cnn"
    suffix: ClassVar[str] = "_digits"
    name: Literal["precision_recall_digits"] = "precision_recall_digits"
