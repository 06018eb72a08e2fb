"""The GAN baseline (Goodfellow et al. 2014) with the non-saturating generator loss."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.rounding import softplus


@register
class Gan(Alternating):
    """The critic f has one output, a logit; by default one critic step per generator step.

    `logistic`: critic, minimised over θ: mean softplus(−f(x)) + mean softplus(f(G(z))), the binary cross-entropy;
    generator, minimised over γ: mean softplus(−f(G(z))).
    `hinge` (Lim & Ye 2017; Miyato et al. 2018): critic: mean relu(1 − f(x)) + mean relu(1 + f(G(z))); generator:
    −mean f(G(z)). With `network.spectral: normalised` it is SN-GAN.
    """

    name: Literal["gan"] = "gan"
    critic_iterations: PositiveInt = 1
    """Critic steps per generator step."""
    loss: Literal["logistic", "hinge"] = "logistic"
    """See above."""

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """Both losses from logits [R, B, 1]; see `Objective.losses`."""
        on_real, on_fake = outputs(real), outputs(fake)
        traces = {"logit_real": on_real.mean(dim=-1), "logit_fake": on_fake.mean(dim=-1)}
        if self.loss == "hinge":
            critic = (1 - on_real).relu().mean(dim=-1) + (1 + on_fake).relu().mean(dim=-1)
            return Losses(critic, -traces["logit_fake"], traces)
        critic = softplus(-on_real).mean(dim=-1) + softplus(on_fake).mean(dim=-1)
        return Losses(critic, softplus(-on_fake).mean(dim=-1), traces)
