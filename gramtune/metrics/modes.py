"""Modes captured and sample quality, for data whose modes are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import classes, register


@register
class Modes(Metric):
    """`modes`: how many modes are captured; `high_quality`: share of the samples near any mode."""

    extractor: ClassVar[str] = "identity"
    needs_real: ClassVar[bool] = False
    name: Literal["modes"] = "modes"
    within: PositiveFloat = 3.0
    """A sample belongs to a mode if it is within this many standard deviations of the centre."""
    captured_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """A mode is captured if at least captured_share · N / modes of the N samples belong to it."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Higher is better."""
        return {"modes": "max", "high_quality": "max"}

    def check(self, data: Dataset) -> None:
        """Raises ValueError if the data are not a known mixture."""
        if data.mixture() is None:
            known = [name for name, cls in classes(Dataset).items() if cls.mixture is not Dataset.mixture]
            raise ValueError(f"metric modes needs data whose modes are known ({', '.join(known)}), not {data.name}")

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """10 · modes: enough for a mode with its expected share of samples to count as captured."""
        mixture = data.mixture()
        modes = 1 if mixture is None else len(mixture.centres)
        return 10 * modes, "a mode can be missed by chance"

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """The mixture that the data were drawn from."""
        mixture = data.mixture()
        assert mixture is not None, "refused by check"
        return {"centres": mixture.centres, "std": torch.tensor(mixture.std, dtype=torch.float64)}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{modes, high_quality} of samples [N, d]."""
        centres = reference["centres"].to(fake)
        distance, mode = torch.cdist(fake.double(), centres.double()).min(dim=1)
        near = distance <= self.within * reference["std"].item()
        held = torch.bincount(mode[near], minlength=len(centres))
        captured = held >= max(1.0, self.captured_share * len(fake) / len(centres))
        return {"modes": float(captured.sum()), "high_quality": near.double().mean().item()}
