"""Fields that choose a kernel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from gramtune.components import Component
from gramtune.stats.kernels import Distance, Gaussian, Kernel, Linear, Mixture, RationalQuadratic

KernelName = Literal["gaussian", "rational_quadratic", "linear", "distance"]


class KernelFields(Component):
    """A kernel on the critic's features."""

    kernel: KernelName = "gaussian"
    """`gaussian`: Σ_σ exp(−d²/2σ²); `rational_quadratic`: Σ_α (1 + d²/2α)^−α; `linear`: aᵀb; `distance`:
    (‖a‖ + ‖b‖ − d)/2, with d = ‖a − b‖."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (1.0,)
    """σ of each Gaussian kernel; without effect for the other kernels."""
    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (0.2, 0.5, 1.0, 2.0, 5.0)
    """α of each rational-quadratic kernel; without effect for the other kernels."""

    def build_kernel(self) -> Kernel:
        """What the fields say."""
        return make_kernel(self.kernel, self.bandwidths, self.alphas)


def make_kernel(name: KernelName, bandwidths: tuple[float, ...], alphas: tuple[float, ...]) -> Kernel:
    """The sum over bandwidths or alphas where the kernel has them."""
    if name == "gaussian":
        return Mixture(tuple(map(Gaussian, bandwidths)))
    if name == "rational_quadratic":
        return Mixture(tuple(map(RationalQuadratic, alphas)))
    return Linear() if name == "linear" else Distance()
