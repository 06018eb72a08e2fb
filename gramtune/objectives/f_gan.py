"""f-GAN (Nowozin et al. 2016): the variational bound of an f-divergence, in both parametrisations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveInt, model_validator
from torch import Tensor

from gramtune.components import Context, Losses, View
from gramtune.objectives._adversarial import Alternating, outputs
from gramtune.registry import register
from gramtune.stats.rounding import softplus

_Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Divergence:
    """T and f*(T) as functions of the critic's output v, T = g_f(v), and of a density ratio r, T = f'(r)."""

    of_output: tuple[_Function, _Function]
    of_ratio: tuple[_Function, _Function] | None  # None: f' has no slope


_LOG2 = math.log(2)
DIVERGENCES: dict[str, _Divergence] = {
    # f(u) = u log u
    "kl": _Divergence((lambda v: v, lambda v: (v - 1).exp()), (lambda r: 1 + r.log(), lambda r: r)),
    # f(u) = −log u
    "reverse_kl": _Divergence(
        (lambda v: -(-v).exp(), lambda v: v - 1), (lambda r: -r.reciprocal(), lambda r: r.log() - 1)
    ),
    # f(u) = (u − 1)²
    "pearson": _Divergence(
        (lambda v: v, lambda v: v.square() / 4 + v), (lambda r: 2 * (r - 1), lambda r: r.square() - 1)
    ),
    # f(u) = (√u − 1)²
    "squared_hellinger": _Divergence(
        (lambda v: 1 - (-v).exp(), lambda v: v.exp() - 1),
        (lambda r: 1 - r.sqrt().reciprocal(), lambda r: r.sqrt() - 1),
    ),
    # f(u) = u log u − (u + 1) log((u + 1)/2)
    "jensen_shannon": _Divergence(
        (lambda v: _LOG2 - softplus(-v), lambda v: softplus(v) - _LOG2),
        (lambda r: r.log() - r.log1p() + _LOG2, lambda r: r.log1p() - _LOG2),
    ),
    # f(u) = u log u − (u + 1) log(u + 1)
    "gan": _Divergence((lambda v: -softplus(-v), softplus), (lambda r: r.log() - r.log1p(), lambda r: r.log1p())),
    # f(u) = |u − 1|/2
    "total_variation": _Divergence((lambda v: v.tanh() / 2, lambda v: v.tanh() / 2), None),
}
"""By name. Output activations g_f: Table 6 of the paper."""


@register
class FGan(Alternating):
    """Critic, maximised over θ: mean T(x) − mean f*(T(G(z))), a lower bound of D_f(data ‖ model).

    Parametrisation `output` (Nowozin et al.): T = g_f(v) for the critic's output v; g_f maps to the domain of f*.
    Parametrisation `ratio`: T = f'(r), where r = softplus(v) is the density ratio data/model.
    """

    name: Literal["f_gan"] = "f_gan"
    critic_iterations: PositiveInt = 1
    """Critic steps per generator step."""
    divergence: Literal[
        "kl", "reverse_kl", "pearson", "squared_hellinger", "jensen_shannon", "gan", "total_variation"
    ] = "jensen_shannon"
    """The divergence's f. `gan` is Jensen–Shannon up to constants, as in the original GAN."""
    parametrisation: Literal["output", "ratio"] = "output"
    """The meaning of the critic's output: T through g_f, or the density ratio."""
    generator_loss: Literal["minimax", "non_saturating"] = "minimax"
    """−mean f*(T(G(z))), or −mean T(G(z)), which has larger gradients where the critic separates all samples."""

    @model_validator(mode="after")
    def _has_a_slope(self) -> FGan:
        if self.parametrisation == "ratio" and DIVERGENCES[self.divergence].of_ratio is None:
            raise ValueError(
                f"parametrisation ratio with divergence {self.divergence}: f' is a step, without a gradient; "
                "should be parametrisation output"
            )
        return self

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """The negated bound and the generator's loss; see `Objective.losses`."""
        on_real, on_fake = outputs(real), outputs(fake)
        functions = DIVERGENCES[self.divergence].of_output
        if self.parametrisation == "ratio":
            on_real, on_fake = softplus(on_real), softplus(on_fake)
            functions = DIVERGENCES[self.divergence].of_ratio or functions
        variational, conjugate = functions
        of_fake = conjugate(on_fake).mean(dim=-1)
        bound = variational(on_real).mean(dim=-1) - of_fake
        generator = -of_fake if self.generator_loss == "minimax" else -variational(on_fake).mean(dim=-1)
        return Losses(-bound, generator, {"divergence": bound})
