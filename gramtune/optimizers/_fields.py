"""Shared fields of the optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat

Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a moving average."""
Epsilon = PositiveFloat
"""Added to the root in the denominator. It must not be 0: padded rows of parameters would give 0/0 = NaN."""
WeightDecay = NonNegativeFloat
"""Strength of weight decay."""


def capturable(parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether a CUDA graph may capture the update of these parameters; the optimiser then counts steps on the GPU."""
    return parameters[0].is_cuda
