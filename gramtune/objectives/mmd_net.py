"""The MMD-net baseline (Li et al. 2015; Dziugaite et al. 2015): MMD in data space, no critic."""

from __future__ import annotations

from typing import Literal

from gramtune.components import Context, Losses, Objective, View
from gramtune.objectives._kernels import KernelFields
from gramtune.registry import register
from gramtune.stats.estimators import root


@register
class MmdNet(KernelFields, Objective):
    """Generator, minimised over γ: MMD² (eq. 2) or its root between x and G(z), of the mean of the kernels."""

    name: Literal["mmd_net"] = "mmd_net"
    sqrt_mmd: bool = True
    """Minimise √MMD² instead of MMD²."""

    def critic(self) -> None:
        """None: the kernel is the adversary."""
        return

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """MMD of the samples; see `Objective.losses`."""
        squared = self.mean_mmd2(fake.samples, real.samples)
        return Losses(None, root(squared) if self.sqrt_mmd else squared, {"mmd2": squared})
