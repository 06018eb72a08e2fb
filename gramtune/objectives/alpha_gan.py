"""α-GAN (Rosca et al. 2017): an autoencoder with one critic for its samples and one for its codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gramtune.components import Context, Losses, Network, Shape, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.rounding import softplus


@register
class AlphaGan(Alternating):
    """x data, z noise, E encoder, x̂ = G(E(x)); D and C are logits of samples and codes, BCE the binary cross-entropy.

    Critics, minimised over θ:   BCE of D, x against x̂ and against G(z), plus BCE of C, z against E(x)
    Generator, minimised over γ: λ mean |x − x̂| − mean D(x̂) − mean D(G(z)); a logit is the log of a density ratio
    Encoder, at the same time:   λ mean |x − x̂| − mean C(E(x))
    The mean of |x − x̂| is over all entries. The encoder is the network's critic with noise_dim outputs.
    """

    name: Literal["alpha_gan"] = "alpha_gan"
    critic_iterations: PositiveInt = 1
    """Critic steps per generator step."""
    reconstruction_weight: PositiveFloat = 10.0
    """λ; Rosca et al. use 1 to 40."""

    def networks(self, network: Network, shape: Shape) -> dict[str, nn.Module]:
        """Two critics, generator and encoder."""
        more = {"encoder": network.critic(shape, network.noise_dim), "code_critic": network.code_critic()}
        return super().networks(network, shape) | more

    def players(self, roles: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The two critics step together; the encoder steps together with the generator."""
        return {"critic": ["critic", "code_critic"], "generator": ["generator"], "encoder": ["encoder"]}

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        with torch.set_grad_enabled(context.for_generator):
            codes = context.networks["encoder"](real.samples)
            rebuilt = context.networks["generator"](codes)
        on_codes, on_rebuilt = (self._logits(context, *each) for each in (("code_critic", codes), ("critic", rebuilt)))
        on_real, on_fake = outputs(real), outputs(fake)
        error = (real.samples - rebuilt).abs().mean(dim=(-2, -1))
        critic = generator = None
        others: dict[str, Tensor] = {}
        if context.for_critic:
            on_noise = self._logits(context, "code_critic", context.noise)
            of_samples = softplus(-on_real) + softplus(on_rebuilt) + softplus(on_fake)
            critic = (of_samples + softplus(-on_noise) + softplus(on_codes)).mean(dim=-1)
        if context.for_generator:
            weighted = self.reconstruction_weight * error
            generator = weighted - on_rebuilt.mean(dim=-1) - on_fake.mean(dim=-1)
            others["encoder"] = weighted - on_codes.mean(dim=-1)
        traces = {"reconstruction": error, "logit_fake": on_fake.mean(dim=-1), "logit_code": on_codes.mean(dim=-1)}
        return Losses(critic, generator, traces, others=others)

    def _logits(self, context: Context, role: str, points: Tensor) -> Tensor:
        return context.networks[role](points).squeeze(-1)
