"""Generative ratio matching (GRAM), the paper's Algorithm 1: one joint step, both losses from the same Gram matrix."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import CriticSpec, Losses, Objective, View
from gramtune.registry import register
from gramtune.stats.estimators import pearson_divergence
from gramtune.stats.ratio_matching import mmd2_and_ratios


@register
class Gram(Objective):
    """The critic f: R^D → R^K keeps density ratios, the generator minimises MMD in the critic's space.

    Critic, maximised over θ (eq. 9):   divergence(r̂) + λ·reduce(r̂),  r̂ = (K_qq + εI)⁻¹ K_qp 1 (eq. 8)
    Generator, minimised over γ (eq. 10): MMD², or its square root, as all three of the authors' codes do.
    The defaults are the paper's text; the fields are the points in which the three official codes differ.
    """

    name: Literal["gram"] = "gram"
    critic_dim: PositiveInt
    """K, dimension of the space that the critic projects to."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)]
    """σ of each Gaussian kernel of the mixture; the mixture is their mean."""
    bandwidth_unit: Literal["std", "variance"] = "std"
    """`std`: exp(−d²/2σ²); `variance`: exp(−d²/2σ), as in GRAMFlow."""
    ridge: Annotated[float, Field(ge=0)] = 1e-3
    """ε on the diagonal of K_qq."""
    divergence: Literal["pearson", "mean_ratio"] = "pearson"
    """What the critic maximises: mean (r̂ − 1)² (eq. 7), or mean r̂, as in GRAMFlow."""
    positivity: Annotated[float, Field(ge=0)] = 1.0
    """λ of the positivity term."""
    positivity_reduction: Literal["sum", "mean"] = "sum"
    """`sum` is eq. 9, which grows with the batch size; `mean` does not."""
    ratio_reduction: Literal["mean", "sum"] = "mean"
    """How the ratios of several bandwidths are combined; GRAMTorch sums."""
    sqrt_mmd: bool = True
    """Minimise √MMD² instead of MMD²."""

    def critic(self) -> CriticSpec:
        """A projection to R^K."""
        return CriticSpec(self.critic_dim)

    def losses(self, real: View, fake: View) -> Losses:
        """Eq. 9 (negated) and eq. 10 from one Gram matrix of the 2B features; see `Objective.losses`."""
        assert real.features is not None
        assert fake.features is not None
        squared_mmd, ratios = mmd2_and_ratios(fake.features, real.features, self._sigmas(), self.ridge)
        ratio = ratios.mean(dim=-2) if self.ratio_reduction == "mean" else ratios.sum(dim=-2)
        pd = pearson_divergence(ratio)
        return Losses(
            critic=-(self._divergence(ratio, pd) + self.positivity * self._reduce(ratio)),
            generator=self._root(squared_mmd) if self.sqrt_mmd else squared_mmd,
            traces={"mmd2": squared_mmd, "pearson_divergence": pd, "ratio_mean": ratio.mean(dim=-1)},
        )

    def _sigmas(self) -> tuple[float, ...]:
        return tuple(s**0.5 for s in self.bandwidths) if self.bandwidth_unit == "variance" else self.bandwidths

    def _divergence(self, ratio: Tensor, pd: Tensor) -> Tensor:
        return pd if self.divergence == "pearson" else ratio.mean(dim=-1)

    def _reduce(self, ratio: Tensor) -> Tensor:
        return ratio.sum(dim=-1) if self.positivity_reduction == "sum" else ratio.mean(dim=-1)

    @staticmethod
    def _root(squared_mmd: Tensor) -> Tensor:
        """√ with the argument kept above 0: there the gradient of √ is infinite; below, clipping makes it 0."""
        return squared_mmd.clamp_min(1e-12).sqrt()
