"""What optimizers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat

Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a moving average."""
Epsilon = PositiveFloat
"""Added to a root in a denominator. Never 0: rows of parameters are padded, and 0/0 is NaN there."""
WeightDecay = NonNegativeFloat
"""Strength of weight decay."""


def capturable(parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether a CUDA graph may be made of their update, for which the optimiser counts its steps on the GPU."""
    return parameters[0].is_cuda
