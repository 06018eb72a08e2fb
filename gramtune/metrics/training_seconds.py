"""Training time as a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register


@register
class TrainingSeconds(Metric):
    """Seconds that the trial has trained, all replicates together and without evaluations; for a Pareto front.

    It is measured, not reproducible: compare trials that ran on equal machines, as many at once. All replicates of a
    trial have the same value, because they are trained side by side.
    """

    extractor: ClassVar[str] = "identity"
    needs_real: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = False
    name: Literal["training_seconds"] = "training_seconds"

    @property
    def directions(self) -> Mapping[str, Direction]:
        """One key, the metric's own name; lower is better."""
        return {self.name: "min"}

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """Nothing: no data are read."""
        return {}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """Nothing: no samples are read."""
        return {}

    def of_training(self, seconds: float) -> dict[str, float]:
        """The time in seconds, under the name of the metric."""
        return {self.name: seconds}
