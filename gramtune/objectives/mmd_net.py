"""The MMD-net baseline (Li et al. 2015; Dziugaite et al. 2015): MMD in data space, no critic."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat

from gramtune.components import Losses, Objective, View
from gramtune.registry import register
from gramtune.stats.estimators import mmd2, root
from gramtune.stats.kernels import gaussian_grams, squared_distances


@register
class MmdNet(Objective):
    """Generator, minimised over γ: MMD² (eq. 2) or its root, averaged over bandwidths, between x and G(z)."""

    name: Literal["mmd_net"] = "mmd_net"
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (1.0,)
    """σ of each Gaussian kernel of the mixture; the mixture is their mean."""
    sqrt_mmd: bool = True
    """Minimise √MMD² instead of MMD²."""

    def critic(self) -> None:
        """None: the kernel is the adversary."""
        return

    def losses(self, real: View, fake: View) -> Losses:
        """MMD of the flattened samples; see `Objective.losses`."""
        x_q, x_p = fake.samples.flatten(1), real.samples.flatten(1)
        n = len(x_q)
        grams = gaussian_grams(squared_distances(torch.cat((x_q, x_p))), self.bandwidths)
        squared = mmd2(grams[:, :n, :n], grams[:, :n, n:], grams[:, n:, n:]).mean()
        return Losses(None, root(squared) if self.sqrt_mmd else squared, {"mmd2": squared})
