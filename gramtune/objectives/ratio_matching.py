"""Density-ratio matching by least squares (Sugiyama et al. 2012; Mohamed & Lakshminarayanan 2016)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.rounding import softplus


@register
class RatioMatching(Alternating):
    """Critic, minimised over θ: ½ mean r(G(z))² − mean r(x), with r = softplus(v). Generator: its negative over γ.

    The critic's loss is ½ E_q (r − p/q)² up to a constant, p the density of the data and q the model's.
    """

    name: Literal["ratio_matching"] = "ratio_matching"
    critic_iterations: PositiveInt = 1
    """Critic steps per generator step."""

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """Moments of the ratio; see `Objective.losses`."""
        on_real, on_fake = softplus(outputs(real)), softplus(outputs(fake))
        second = on_fake.square().mean(dim=-1) / 2
        first = on_real.mean(dim=-1)
        traces = {"ratio_real": first, "ratio_fake": on_fake.mean(dim=-1)}
        return Losses(second - first, -second, traces)
