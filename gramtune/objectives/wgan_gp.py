"""The Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.gradients import mixed, unit_norm_penalty


@register
class WganGp(Alternating):
    """Critic, minimised over θ: mean f(G(z)) − mean f(x) + λ mean (‖∇f(x̃)‖₂ − 1)². Generator: −mean f(G(z)).

    x̃ = ε x + (1 − ε) G(z), one ε ~ U[0, 1] per sample. The defaults are the authors'; they use Adam with rate
    1e-4 and β = (0, 0.9) on images, (0.5, 0.9) elsewhere. The critic must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["wgan_gp"] = "wgan_gp"
    gradient_penalty: PositiveFloat = 10.0
    """λ."""

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """The differences of means, and in critic steps the penalty; see `Objective.losses`."""
        on_real, on_fake = outputs(real).mean(dim=-1), outputs(fake).mean(dim=-1)
        traces = {"wasserstein": on_real - on_fake}
        if not context.for_critic:
            return Losses(None, -on_fake, traces)
        points = mixed(real.samples, fake.samples, context.uniform)
        traces["gradient_penalty"] = penalty = unit_norm_penalty(context.critic, points)
        return Losses(on_fake - on_real + self.gradient_penalty * penalty, -on_fake, traces)
