"""The Cramér GAN (Bellemare et al. 2017): the energy distance of a critic's features."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, View
from gramtune.objectives._adversarial import Alternating, features
from gramtune.registry import register
from gramtune.stats.gradients import mixed, norm, unit_norm_penalty


@register
class CramerGan(Alternating):
    """h: R^D → R^K; x data, y and y' independent generated samples, c(a) = ‖h(a) − h(y')‖ − ‖h(a)‖.

    Critic, minimised over θ:    −mean (c(x) − c(y)) + λ mean (‖∇c(x̃)‖₂ − 1)², x̃ between x and y
    Generator, minimised over γ: mean ‖h(x) − h(y)‖ + mean ‖h(x) − h(y')‖ − mean ‖h(y) − h(y')‖
    The generator's loss is the energy distance up to a term that depends only on the data. Samples are paired by their
    index in the minibatch. The defaults are the authors'; they use Adam with rate 1e-4 and β = (0.5, 0.9). The critic
    must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["cramer_gan"] = "cramer_gan"
    critic_dim: PositiveInt = 256
    """K, dimension of h."""
    gradient_penalty: PositiveFloat = 10.0
    """λ."""

    def critic(self) -> CriticSpec:
        """K features."""
        return CriticSpec(self.critic_dim)

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        x, y, other = features(real), features(fake), features(context.generated())
        energy = (norm(x - y) + norm(x - other) - norm(y - other)).mean(dim=-1)
        traces = {"energy": energy}
        if not context.for_critic:
            return Losses(None, energy, traces)

        def witness(h: Tensor) -> Tensor:
            return norm(h - other) - norm(h)

        points = mixed(real.samples, fake.samples, context.uniform)
        traces["gradient_penalty"] = penalty = unit_norm_penalty(lambda p: witness(context.critic(p)), points)
        surrogate = (witness(x) - witness(y)).mean(dim=-1)
        return Losses(self.gradient_penalty * penalty - surrogate, energy, traces)
