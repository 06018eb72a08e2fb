"""MMD-GAN with a penalty on the witness function's gradient (Bińkowski et al. 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, View
from gramtune.objectives._adversarial import Alternating, features
from gramtune.objectives._kernels import KernelFields, KernelName
from gramtune.registry import register
from gramtune.stats.gradients import mixed, unit_norm_penalty
from gramtune.stats.kernels import KernelSum, Linear, kernel_mmd2


@register
class MmdGanGp(KernelFields, Alternating):
    """Critic, minimised over θ: −MMD²(φ(x), φ(y)) + λ mean (‖∇w(x̃)‖₂ − 1)². Generator, over γ: MMD², unbiased.

    w(t) = mean_i k(φ(x_i), φ(t)) − mean_j k(φ(y_j), φ(t)) is the witness, x̃ = ε x + (1 − ε) y. The defaults are the
    authors'; they use Adam with rate 1e-4, β = (0.5, 0.9) and batches of 64. Their L2 penalty on the critic's hidden
    layers is not implemented. The critic must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["mmd_gan_gp"] = "mmd_gan_gp"
    critic_dim: PositiveInt = 16
    """K, dimension of φ."""
    kernel: KernelName = "rational_quadratic"
    """See `KernelFields`."""
    linear_term: bool = False
    """Whether the linear kernel is added."""
    gradient_penalty: PositiveFloat = 1.0
    """λ."""

    def critic(self) -> CriticSpec:
        """K features."""
        return CriticSpec(self.critic_dim)

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        kernel = self.build_kernel()
        if self.linear_term:
            kernel = KernelSum((kernel, Linear()))
        x, y = features(real), features(fake)
        squared = kernel_mmd2(kernel, y, x, unbiased=True)
        traces = {"mmd2": squared}
        if not context.for_critic:
            return Losses(None, squared, traces)

        def witness(points: Tensor) -> Tensor:
            t = context.critic(points).double()
            grams = (kernel.gram(t, side.double()).mean(dim=-1) for side in (x, y))
            return next(grams) - next(grams)

        points = mixed(real.samples, fake.samples, context.uniform)
        traces["gradient_penalty"] = penalty = unit_norm_penalty(witness, points)
        return Losses(self.gradient_penalty * penalty - squared, squared, traces)
