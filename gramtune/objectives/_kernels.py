"""Fields that select a kernel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor

from gramtune.components import Component
from gramtune.stats.kernels import Distance, Gaussian, Kernel, KernelSum, Linear, RationalQuadratic, kernel_mmd2
from gramtune.stats.ratio_matching import mixture_mmd2

KernelName = Literal["gaussian", "rational_quadratic", "linear", "distance"]


class KernelFields(Component):
    """A kernel on the critic's features."""

    kernel: KernelName = "gaussian"
    """`gaussian`: Σ_σ exp(−d²/2σ²); `rational_quadratic`: Σ_α (1 + d²/2α)^−α; `linear`: aᵀb; `distance`:
    (‖a‖ + ‖b‖ − d)/2, with d = ‖a − b‖."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (1.0,)
    """σ of each Gaussian kernel; no effect on other kernels."""
    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] = (0.2, 0.5, 1.0, 2.0, 5.0)
    """α of each rational-quadratic kernel; no effect on other kernels."""

    def build_kernel(self) -> Kernel:
        """The kernel selected by the fields."""
        if self.kernel == "gaussian":
            return KernelSum(tuple(map(Gaussian, self.bandwidths)))
        if self.kernel == "rational_quadratic":
            return KernelSum(tuple(map(RationalQuadratic, self.alphas)))
        return Linear() if self.kernel == "linear" else Distance()

    @property
    def kernel_count(self) -> int:
        """Number of kernels in the sum."""
        return {"gaussian": len(self.bandwidths), "rational_quadratic": len(self.alphas)}.get(self.kernel, 1)

    def mean_mmd2(self, f_q: Tensor, f_p: Tensor) -> Tensor:
        """Biased MMD² of the mean of the kernels: [..., N, K], [..., M, K] → [...]. Gaussians use a closed form."""
        if self.kernel == "gaussian":
            return mixture_mmd2(f_q, f_p, self.bandwidths)
        return kernel_mmd2(self.build_kernel(), f_q, f_p, unbiased=False) / self.kernel_count
