"""Generative ratio matching (GRAM), the paper's Algorithm 1: one joint step, both losses from the same Gram matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, Objective, View
from gramtune.registry import register
from gramtune.stats.estimators import pearson_divergence, root
from gramtune.stats.ratio_matching import mmd2_and_ratios

_SUBMISSION: dict[str, Any] = {
    "bandwidths": (0.1, 1.0, 10.0, 100.0),
    "bandwidth_unit": "std",
    "ridge": 1e-3,
    "divergence": "pearson",
    "positivity": 1.0,
    "positivity_reduction": "mean",
    "ratio_reduction": "mean",
    "sqrt_mmd": True,
    "mmd_reduction": "sum",
    "sqrt_offset": 1e-6,
    "critic_first": False,
}
_TEXT: dict[str, Any] = {
    "bandwidths": (1.0, 2.0, 4.0, 8.0, 16.0),
    "positivity_reduction": "sum",
    "mmd_reduction": "mean",
    "sqrt_offset": 0.0,
}
_FLOW: dict[str, Any] = {
    "bandwidth_unit": "variance",
    "ridge": 0.0,
    "divergence": "mean_ratio",
    "positivity": 0.0,
    "critic_first": True,
}
_PAPER = _SUBMISSION | _TEXT
_ON_IMAGES = (1.0, 10.0, 100.0, 1000.0)
_MAX_RATIO_DIM = 10
PRESETS: dict[str, dict[str, Any]] = {
    "submission": _SUBMISSION,
    "paper": _PAPER,
    "julia": _PAPER | {"bandwidths": _ON_IMAGES},
    "flow": _PAPER | _FLOW,
    "torch": _PAPER | {"bandwidths": _ON_IMAGES, "ratio_reduction": "sum"},
}
"""Values of all fields but K, by preset: the paper's text (section 4) and its authors' four codes (docs/paper.md).

Bandwidths are those for CIFAR-10; the submission's code, which has no CIFAR-10, gives those for MNIST. That code and
JuliaGRAM have 1 on the ring, JuliaGRAM and GRAMTorch 0.1, 1, 10, 100 on MNIST.
"""


@register
class Gram(Objective):
    """The critic f: R^D → R^K keeps density ratios, the generator minimises MMD in the critic's space.

    Critic, maximised over θ (eq. 9):   divergence(r̂) + λ·reduce(r̂),  r̂ = (K_qq + εI)⁻¹ K_qp 1 (eq. 8)
    Generator, minimised over γ (eq. 10): MMD², or √(MMD² + c), as all of the authors' codes do (c > 0 in one of them).
    The defaults are those of the code that made the ring's and MNIST's figures (preset `submission`); the fields are
    the points in which the official codes differ, and `preset` sets all that are not given beside it, or given as null.
    """

    model_config = ConfigDict(json_schema_extra=lambda schema: _filled_by_preset(schema))
    name: Literal["gram"] = "gram"
    preset: Literal["paper", "submission", "julia", "flow", "torch"] | None = None
    """Where the fields that are not given come from: the paper's text, the submission's code (GRAM.jl), JuliaGRAM,
    GRAMFlow or GRAMTorch (`PRESETS`). All fields hold, and record, what is really used."""
    critic_dim: PositiveInt
    """K, dimension of the space that the critic projects to."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)]
    """σ of each Gaussian kernel of the mixture, which `ratio_reduction` and `mmd_reduction` combine."""
    bandwidth_unit: Literal["std", "variance"] = "std"
    """`std`: exp(−d²/2σ²); `variance`: exp(−d²/2σ), as in GRAMFlow."""
    ridge: Annotated[float, Field(ge=0)] = 1e-3
    """ε on the diagonal of K_qq; 0 is GRAMFlow's plain inverse."""
    divergence: Literal["pearson", "mean_ratio"] = "pearson"
    """What the critic maximises: mean (r̂ − 1)² (eq. 7), or mean r̂, as in GRAMFlow."""
    positivity: Annotated[float, Field(ge=0)] = 1.0
    """λ of the positivity term."""
    positivity_reduction: Literal["sum", "mean"] = "mean"
    """`mean` is the submission's code; `sum` is eq. 9 as printed, which grows with the batch size."""
    ratio_reduction: Literal["mean", "sum"] = "mean"
    """How the ratios of several bandwidths are combined; GRAMTorch sums."""
    sqrt_mmd: bool = True
    """Minimise √(MMD² + c) instead of MMD²."""
    mmd_reduction: Literal["mean", "sum"] = "sum"
    """How the MMD² of several bandwidths are combined; only the submission's code sums."""
    sqrt_offset: Annotated[float, Field(ge=0)] = 1e-6
    """c, the constant under the root, 0 in the other codes; no effect where `sqrt_mmd` is off. It bounds the slope of
    the root by 1/(2√c). With c = 0, MMD² is clipped at 1e-12 instead."""
    critic_first: bool = False
    """Step the critic, then the generator with the new critic, on one batch, as GRAMFlow does; otherwise both step
    together (Algorithm 1)."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """An unknown preset is filled too, so that its own issue stands alone and not beside missing bandwidths."""
        if not isinstance(given, dict) or given.get("preset") is None:
            return given
        chosen = {field: value for field, value in given.items() if value is not None}
        return PRESETS.get(str(given["preset"]), _SUBMISSION) | chosen

    def critic(self) -> CriticSpec:
        """A projection to R^K. Kernels see differences of features alone."""
        return CriticSpec(self.critic_dim, translation_invariant=True)

    @property
    def sequential(self) -> bool:
        """`critic_first`."""
        return self.critic_first

    def losses(self, real: View, fake: View, context: Context | None = None) -> Losses:
        """Eq. 9 (negated) and eq. 10 from one Gram matrix of the 2B features; see `Objective.losses`."""
        assert real.features is not None
        assert fake.features is not None
        squared_mmd, ratios = mmd2_and_ratios(fake.features, real.features, self._sigmas(), self.ridge)
        if self.mmd_reduction == "sum":
            squared_mmd = squared_mmd * len(self.bandwidths)
        ratio = self._ratio(ratios)
        pd = pearson_divergence(ratio)
        return Losses(
            critic=-(self._divergence(ratio, pd) + self.positivity * self._reduce(ratio)),
            generator=root(squared_mmd + self.sqrt_offset) if self.sqrt_mmd else squared_mmd,
            traces={"mmd2": squared_mmd, "pearson_divergence": pd, "ratio_mean": ratio.mean(dim=-1)},
        )

    def monitor(self, real: View, fake: View) -> Mapping[str, Tensor]:
        """d_star: D* = mean (r̂_x − r̂_θ)² over the generated points (eq. 4); data_pearson_divergence: mean (r̂_x − 1)².

        r̂_x is estimated as r̂_θ is (eq. 8, the same kernels), from the points themselves. Without estimation errors
        D* is this divergence minus the critic's (eq. 5). Nothing for data of more than 10 dimensions, where a density
        ratio cannot be estimated.
        """
        if real.samples.shape[-1] > _MAX_RATIO_DIM:
            return {}
        assert real.features is not None
        assert fake.features is not None
        in_data = self._ratio(mmd2_and_ratios(fake.samples, real.samples, self._sigmas(), self.ridge)[1])
        projected = self._ratio(mmd2_and_ratios(fake.features, real.features, self._sigmas(), self.ridge)[1])
        return {
            "d_star": (in_data - projected).square().mean(dim=-1),
            "data_pearson_divergence": pearson_divergence(in_data),
        }

    def _ratio(self, ratios: Tensor) -> Tensor:
        """Of several bandwidths one: [..., S, N] → [..., N]."""
        return ratios.mean(dim=-2) if self.ratio_reduction == "mean" else ratios.sum(dim=-2)

    def _sigmas(self) -> tuple[float, ...]:
        return tuple(s**0.5 for s in self.bandwidths) if self.bandwidth_unit == "variance" else self.bandwidths

    def _divergence(self, ratio: Tensor, pd: Tensor) -> Tensor:
        return pd if self.divergence == "pearson" else ratio.mean(dim=-1)

    def _reduce(self, ratio: Tensor) -> Tensor:
        return ratio.sum(dim=-1) if self.positivity_reduction == "sum" else ratio.mean(dim=-1)


def _filled_by_preset(schema: dict[str, Any]) -> None:
    """A preset fills the fields that have no default, but for K; null means the preset's value."""
    for key in _PAPER.keys() & schema["properties"]:
        whole = schema["properties"][key]
        about = {word: whole.pop(word) for word in ("default", "description", "title") if word in whole}
        schema["properties"][key] = {"anyOf": [whole, {"type": "null"}], **about}
    given = [key for key in schema["required"] if key in _PAPER]
    schema["required"] = [key for key in schema["required"] if key not in _PAPER]
    schema["anyOf"] = [{"required": ["preset"]}, {"required": given}]
