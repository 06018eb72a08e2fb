"""Student's t on paired replicates: replicate i draws the same batches and noise in every trial."""

from __future__ import annotations

import math
from functools import cache

import numpy as np


@cache
def t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """t with P(|T| ≤ t) = `confidence` for Student's T with ν degrees of freedom.

    With T = √ν·tan θ, θ has the density cos^{ν−1} θ on (−π/2, π/2); its integral is taken numerically.
    """
    theta = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(theta) ** (degrees - 1)
    mass = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))  # trapezoids, in units of half a step
    angle = float(np.interp(confidence * mass[-1], mass, theta))
    return math.sqrt(degrees) * math.tan(angle)
