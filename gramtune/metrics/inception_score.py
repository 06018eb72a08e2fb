"""Inception score (Salimans et al. 2016): high if class predictions are confident and cover all classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register


@register
class InceptionScore(Metric):
    """exp mean_x KL(p(c|x) ‖ p(c)), mean and standard deviation over equal consecutive parts of the samples.

    Uses no real data. A part of n samples scores at most n, so small parts score lower.
    """

    extractor: ClassVar[str] = "inception_logits"
    needs_real: ClassVar[bool] = False
    name: Literal["inception_score"] = "inception_score"
    splits: Annotated[int, Field(ge=2)] = 10

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Higher is better; for its standard deviation lower."""
        return {"inception_score": "max", "inception_score_std": "min"}

    @property
    def least(self) -> tuple[int, int]:
        """One generated sample per split; no held-out samples."""
        return self.splits, 0

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """The number of classes. The literature uses 50,000."""
        return max(dim, self.splits), "the value is far too small"

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{inception_score, inception_score_std} from class logits [N, classes]. Raises ValueError if N < splits."""
        if len(fake) < self.splits:
            raise ValueError(f"an inception score of {self.splits} splits needs as many samples, got {len(fake)}")
        log_p = torch.log_softmax(fake.double(), dim=1)
        scores = torch.stack([_score(part) for part in log_p.tensor_split(self.splits)])
        return {
            "inception_score": scores.mean().item(),
            "inception_score_std": scores.std(correction=0).item(),
        }


def _score(log_p: Tensor) -> Tensor:
    """exp(mean_i Σ_c p_ic (log p_ic − log mean_i p_ic)): [N, classes] → []."""
    marginal = torch.logsumexp(log_p, dim=0) - torch.tensor(len(log_p), dtype=log_p.dtype).log()
    return (log_p.exp() * (log_p - marginal)).sum(dim=1).mean().exp()
