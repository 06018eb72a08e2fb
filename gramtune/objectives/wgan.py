"""The Wasserstein GAN (Arjovsky et al. 2017): a critic whose weights are clamped."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Boosted, outputs
from gramtune.registry import register


@register
class Wgan(Boosted):
    """Critic, minimised over θ: mean f(G(z)) − mean f(x). Generator, minimised over γ: −mean f(G(z)).

    The defaults are the authors' code, with RMSprop at 5e-5 and batches of 64. Where another constraint keeps the
    critic Lipschitz, such as spectral normalisation, `weight_clamp: null` switches the clamp off.
    """

    name: Literal["wgan"] = "wgan"
    weight_clamp: PositiveFloat | None = 0.01
    """The critic's parameters are clamped to ± this before each critic step; null for no clamp."""

    @property
    def critic_clamp(self) -> float | None:
        """`weight_clamp`."""
        return self.weight_clamp

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """The differences of means; see `Objective.losses`."""
        on_real, on_fake = outputs(real).mean(dim=-1), outputs(fake).mean(dim=-1)
        return Losses(on_fake - on_real, -on_fake, {"wasserstein": on_real - on_fake})
