"""Scaled Wasserstein GAN (Arbel et al. 2018): the critic's difference of means times a scale of its gradient."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.gradients import gradient, root


@register
class Swgan(Alternating):
    """Critic, minimised over θ: −σ (mean f(x) − mean f(y)). Generator, minimised over γ: σ (mean f(x) − mean f(y)).

    σ^−2 = 1 + w (E‖∇f(x)‖² + E f(x)²), over the data. The defaults are the authors'; they use spectral normalisation of
    the critic, and Adam with rate 1e-4 and β = (0.5, 0.9). The critic must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["swgan"] = "swgan"
    gradient_weight: Annotated[float, Field(gt=0)] = 10.0
    """w."""

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        on_real = outputs(real)
        slopes = gradient(context.critic, real.samples, create_graph=context.for_critic).square().sum(dim=-1)
        inverse = 1 + self.gradient_weight * (slopes.mean(dim=-1) + on_real.square().mean(dim=-1))
        scale = root(inverse).reciprocal()
        scaled = scale * (on_real.mean(dim=-1) - outputs(fake).mean(dim=-1))
        return Losses(-scaled, scaled, {"scaled_wasserstein": scaled, "scale": scale})
