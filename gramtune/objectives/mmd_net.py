"""The MMD-net baseline (Li et al. 2015; Dziugaite et al. 2015): MMD in data space, no critic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from gramtune.components import Context, Losses, Objective, View
from gramtune.registry import register
from gramtune.stats.estimators import root
from gramtune.stats.ratio_matching import mixture_mmd2


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

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """MMD of the samples; see `Objective.losses`."""
        squared = mixture_mmd2(fake.samples, real.samples, self.bandwidths)
        return Losses(None, root(squared) if self.sqrt_mmd else squared, {"mmd2": squared})
