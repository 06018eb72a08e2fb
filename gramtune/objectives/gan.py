"""The GAN baseline (Goodfellow et al. 2014) with the non-saturating generator loss."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, Objective, View
from gramtune.registry import register


@register
class Gan(Objective):
    """Critic with one logit; one critic step per generator step.

    Critic, minimised over θ: mean softplus(−f(x)) + mean softplus(f(G(z))), the binary cross-entropy.
    Generator, minimised over γ: mean softplus(−f(G(z))).
    """

    joint: ClassVar[bool] = False
    name: Literal["gan"] = "gan"

    def critic(self) -> CriticSpec:
        """One logit."""
        return CriticSpec(1)

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """Binary cross-entropy of logits [R, B, 1]; see `Objective.losses`."""
        assert real.features is not None
        assert fake.features is not None
        on_real, on_fake = real.features.squeeze(-1), fake.features.squeeze(-1)
        return Losses(
            critic=_softplus(-on_real).mean(dim=-1) + _softplus(on_fake).mean(dim=-1),
            generator=_softplus(-on_fake).mean(dim=-1),
            traces={"logit_real": on_real.mean(dim=-1), "logit_fake": on_fake.mean(dim=-1)},
        )


class _Softplus(torch.autograd.Function):
    """log(1 + eˣ), elementwise, as max(x, 0) + log1p(e^−|x|).

    torch's own softplus rounds an element by its place in memory, so a replicate would depend on those beside it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu().add_(x.abs().neg_().exp_().log1p_())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """1/(1 + e^−x) times the gradient; torch's sigmoid has the same fault as its softplus."""
        (x,) = ctx.saved_tensors
        found: Tensor = grads[0] * (1 + x.neg().exp()).reciprocal()
        return found


def _softplus(x: Tensor) -> Tensor:
    out: Tensor = _Softplus.apply(x)
    return out
