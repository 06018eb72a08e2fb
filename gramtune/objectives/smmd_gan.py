"""Scaled MMD-GAN (Arbel et al. 2018): MMD times a scale that bounds the gradient of its witness."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, View
from gramtune.objectives._adversarial import Alternating, features
from gramtune.objectives._kernels import KernelFields
from gramtune.registry import register
from gramtune.stats.gradients import gradient, jacobian
from gramtune.stats.kernels import kernel_mmd2

_MAX_EXACT_DIM = 16


@register
class SmmdGan(KernelFields, Alternating):
    """Critic, minimised over θ: −σ² MMD²(φ(x), φ(y)). Generator, minimised over γ: σ² MMD².

    `theory`: σ^−2 = λ + E k(φ(x), φ(x)) + c·E‖∇φ(x)‖²_F, where c is the kernel's curvature (1/s² for a Gaussian).
    `code`:   σ^−2 = 1 + w·E‖∇φ(x)‖²_F, the authors' code.
    Expectations are over the data. MMD² is unbiased. The defaults are the authors'; they use Adam with rate 1e-4,
    β = (0.5, 0.9) and batches of 64. The critic must have no BatchNorm.
    """

    penalises_gradients: ClassVar[bool] = True
    name: Literal["smmd_gan"] = "smmd_gan"
    critic_dim: PositiveInt = 1
    """K, dimension of φ."""
    scaling: Literal["code", "theory"] = "code"
    """Which σ."""
    gradient_weight: Annotated[float, Field(gt=0)] = 10.0
    """w of `code`."""
    ridge: Annotated[float, Field(gt=0)] = 1.0
    """λ of `theory`."""
    jacobian: Literal["exact", "hutchinson"] = "exact"
    """How ‖∇φ‖²_F is computed. `exact`: K backward passes; `hutchinson`: an estimate from `probes` backward passes,
    mean ‖∇(vᵀφ)‖² with random v_k = ±1."""
    probes: PositiveInt = 1
    """Number of probes of Hutchinson's estimate; no effect for `exact`."""

    @model_validator(mode="after")
    def _affordable(self) -> SmmdGan:
        if self.jacobian == "exact" and self.critic_dim > _MAX_EXACT_DIM:
            raise ValueError(
                f"critic_dim {self.critic_dim} needs as many backward passes; should be at most {_MAX_EXACT_DIM}, "
                "or jacobian: hutchinson"
            )
        if self.scaling == "theory":
            _ = self.build_kernel().curvature
        return self

    def critic(self) -> CriticSpec:
        """K features."""
        return CriticSpec(self.critic_dim)

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """See the class and `Objective.losses`."""
        squared = kernel_mmd2(self.build_kernel(), features(fake), features(real), unbiased=True)
        slopes = self._squared_slopes(real, context)
        scale = self._inverse_scale(features(real), slopes).reciprocal()
        traces = {"mmd2": squared, "scale": scale, "squared_gradient": slopes}
        return Losses(-scale * squared, scale * squared, traces)

    def _inverse_scale(self, x: Tensor, slopes: Tensor) -> Tensor:
        if self.scaling == "code":
            return 1 + self.gradient_weight * slopes
        kernel = self.build_kernel()
        return self.ridge + kernel.diagonal(x).mean(dim=-1) + kernel.curvature * slopes

    def _squared_slopes(self, real: View, context: Context) -> Tensor:
        """mean ‖∇φ(x)‖²_F over the data: [...]. Without a graph in generator steps, which need no gradient of it."""
        if self.jacobian == "exact":
            rows = jacobian(context.critic, real.samples, create_graph=context.for_critic)
            return rows.square().sum(dim=(-2, -1)).mean(dim=-1)
        total = real.samples.new_zeros(())
        for _ in range(self.probes):
            signs = (context.uniform(real.samples.shape[-2], self.critic_dim) < 0.5).to(real.samples.dtype) * 2 - 1

            def probed(points: Tensor, signs: Tensor = signs) -> Tensor:
                return context.critic(points) * signs

            found = gradient(probed, real.samples, create_graph=context.for_critic)
            total = total + found.square().sum(dim=-1).mean(dim=-1)
        return total / self.probes
