"""The MMD-GAN baseline (Li et al. 2017): MMD in the code space of an adversarial autoencoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch.nn import functional as F

from gramtune.components import Context, CriticSpec, Losses, View
from gramtune.objectives._adversarial import Boosted
from gramtune.objectives._kernels import KernelFields
from gramtune.registry import register
from gramtune.stats.estimators import root


@register
class MmdGan(KernelFields, Boosted):
    """The critic is an encoder f: R^D → R^K with a decoder f_d: R^K → R^D; x are data, y generated samples.

    Critic, maximised over θ:    √MMD²(f(x), f(y)) + λ_rg·h − λ_ae·AE(x) − λ_ae·AE(y)
    Generator, minimised over γ: √MMD²(f(x), f(y)) + λ_rg·h
    h = −mean relu(−(mean f(x) − mean f(y))), over the K dimensions, is the feasible set reduction (FSR);
    AE(x) = mean (x − f_d(f(x)))², over all entries, the autoencoder penalty. The defaults are the authors' code.
    """

    name: Literal["mmd_gan"] = "mmd_gan"
    critic_dim: PositiveInt
    """K, dimension of the encoder's output."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """σ of each Gaussian kernel of the mixture."""
    kernel_reduction: Literal["sum", "mean"] = "sum"
    """The mixture is the sum of its S kernels, or their mean. `sum` makes √MMD² √S times as large relative to the terms
    with λ_rg and λ_ae; the defaults 16 and 8 of these are meant for `sum`."""
    feasible_set_reduction: bool = True
    """Whether both losses have the term λ_rg·h (Table 4: FSR)."""
    feasible_set_weight: PositiveFloat = 16.0
    """λ_rg; no effect if `feasible_set_reduction` is off."""
    autoencoder: bool = True
    """Whether the critic has a decoder and the penalty λ_ae·(AE(x) + AE(y)) (Table 4: AE)."""
    autoencoder_weight: PositiveFloat = 8.0
    """λ_ae; no effect if `autoencoder` is off."""
    weight_clamp: PositiveFloat | None = 0.01
    """The encoder's parameters (not the decoder's) are clamped to ± this before each critic step; null for no clamp.
    The GRAM authors' Julia code uses 0.1 on the ring."""

    def critic(self) -> CriticSpec:
        """An encoder to R^K, with a decoder if the autoencoder penalty is on."""
        return CriticSpec(self.critic_dim, decoder=self.autoencoder, translation_invariant=not self.autoencoder)

    @property
    def critic_clamp(self) -> float | None:
        """The bound of the encoder's weights, which makes the encoder Lipschitz."""
        return self.weight_clamp

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """Both losses of features [R, B, K] and, with the penalty, reconstructions; see `Objective.losses`."""
        assert real.features is not None
        assert fake.features is not None
        squared_mmd = self.mean_mmd2(fake.features, real.features)
        if self.kernel_reduction == "sum":
            squared_mmd = squared_mmd * self.kernel_count
        traces, generator = {"mmd2": squared_mmd}, root(squared_mmd)
        if self.feasible_set_reduction:
            one_sided = -F.relu(fake.features.mean(dim=-2) - real.features.mean(dim=-2)).mean(dim=-1)
            traces["one_sided"] = one_sided
            generator = generator + self.feasible_set_weight * one_sided
        critic = -generator
        if self.autoencoder:
            for label, view in (("real", real), ("fake", fake)):
                assert view.reconstruction is not None
                error = (view.reconstruction - view.samples).square().mean(dim=(-2, -1))
                traces[f"autoencoder_{label}"] = error
                critic = critic + self.autoencoder_weight * error
        return Losses(critic, generator, traces)
