"""Sobolev GAN (Mroueh et al. 2018): an augmented Lagrangian keeps the critic's mean squared gradient at 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import PositiveFloat
from torch import Tensor

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.gradients import gradient


@register
class SobolevGan(Alternating):
    """Critic, minimised over θ: mean f(y) − mean f(x) + Λ Ω + ρ/2 Ω². Generator, minimised over γ: −mean f(y).

    Ω = ½ E‖∇f(x)‖² + ½ E‖∇f(y)‖² − 1. After each critic step Λ ← Λ + ρ Ω, one Λ per replicate. The critic must have no
    BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["sobolev_gan"] = "sobolev_gan"
    penalty_weight: PositiveFloat = 0.1
    """ρ, also the step size of Λ. The default is not the authors'."""

    @property
    def state(self) -> Mapping[str, float]:
        """Λ."""
        return {"multiplier": 0.0}

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        on_real, on_fake = outputs(real).mean(dim=-1), outputs(fake).mean(dim=-1)
        traces = {"wasserstein": on_real - on_fake}
        if not context.for_critic:
            return Losses(None, -on_fake, traces)
        sides: list[Tensor] = [
            gradient(context.critic, view.samples).square().sum(dim=-1).mean(dim=-1) for view in (real, fake)
        ]
        omega = (sides[0] + sides[1]) / 2 - 1
        multiplier = context.state["multiplier"]
        penalty = multiplier * omega + self.penalty_weight / 2 * omega.square()
        after = multiplier + self.penalty_weight * omega.detach()
        traces |= {"constraint": omega, "multiplier": after}
        return Losses(on_fake - on_real + penalty, -on_fake, traces, {"multiplier": after})
