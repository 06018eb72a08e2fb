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
"""Values of all fields except K, by preset: the paper's text (section 4) and its authors' four codes (docs/paper.md).

The bandwidths are those for CIFAR-10; `submission` has those for MNIST, because its code has no CIFAR-10. On the ring
the submission's code and JuliaGRAM use 1. On MNIST JuliaGRAM and GRAMTorch use 0.1, 1, 10, 100.
"""


@register
class Gram(Objective):
    """The critic f: R^D → R^K keeps density ratios, the generator minimises MMD in the critic's space.

    Critic, maximised over θ (eq. 9):   divergence(r̂) + λ·reduce(r̂),  r̂ = (K_qq + εI)⁻¹ K_qp 1 (eq. 8)
    Generator, minimised over γ (eq. 10): MMD², or √(MMD² + c), as all of the authors' codes do (c > 0 in one of them).
    The defaults are those of the code that made the paper's figures of the ring and MNIST (preset `submission`). The
    fields are the points in which the official codes differ. `preset` sets every field that is not given or is null.
    """

    model_config = ConfigDict(json_schema_extra=lambda schema: _filled_by_preset(schema))
    name: Literal["gram"] = "gram"
    preset: Literal["paper", "submission", "julia", "flow", "torch"] | None = None
    """The source of the fields that are not given: the paper's text, the submission's code (GRAM.jl), JuliaGRAM,
    GRAMFlow or GRAMTorch (`PRESETS`). The configuration records the values that are used."""
    critic_dim: PositiveInt
    """K, dimension of the space that the critic projects to."""
    bandwidths: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)]
    """σ of each Gaussian kernel of the mixture, which `ratio_reduction` and `mmd_reduction` combine."""
    bandwidth_unit: Literal["std", "variance"] = "std"
    """`std`: exp(−d²/2σ²); `variance`: exp(−d²/2σ), as in GRAMFlow."""
    ridge: Annotated[float, Field(ge=0)] = 1e-3
    """ε, added to the diagonal of K_qq; 0 is GRAMFlow's plain inverse."""
    divergence: Literal["pearson", "mean_ratio"] = "pearson"
    """What the critic maximises: mean (r̂ − 1)² (eq. 7), or mean r̂, as in GRAMFlow."""
    positivity: Annotated[float, Field(ge=0)] = 1.0
    """λ of the positivity term."""
    positivity_reduction: Literal["sum", "mean"] = "mean"
    """Reduction in the positivity term. `mean`: the submission's code; `sum`: eq. 9, grows with the batch size."""
    ratio_reduction: Literal["mean", "sum"] = "mean"
    """How the ratios of several bandwidths are combined; GRAMTorch sums them."""
    sqrt_mmd: bool = True
    """Minimise √(MMD² + c) instead of MMD²."""
    mmd_reduction: Literal["mean", "sum"] = "sum"
    """How the MMD² of several bandwidths are combined; only the submission's code sums them."""
    sqrt_offset: Annotated[float, Field(ge=0)] = 1e-6
    """c, the constant under the root; no effect if `sqrt_mmd` is off. It bounds the root's derivative by 1/(2√c). Only
    one official code has c > 0. With c = 0, MMD² is clipped at 1e-12 instead."""
    critic_first: bool = False
    """True: the critic steps first, then the generator with the new critic on the same batch, as in GRAMFlow. False:
    both step together (Algorithm 1)."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """Fills the fields from the preset. For an unknown preset it uses those of `submission`, so that only the
        unknown name is reported."""
        if not isinstance(given, dict) or given.get("preset") is None:
            return given
        chosen = {field: value for field, value in given.items() if value is not None}
        return PRESETS.get(str(given["preset"]), _SUBMISSION) | chosen

    def critic(self) -> CriticSpec:
        """A projection to R^K. The losses depend only on differences of features."""
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

        r̂_x is estimated like r̂_θ (eq. 8, the same kernels), but from the points themselves. Without estimation errors
        D* is this divergence minus the critic's (eq. 5). Empty for data of more than 10 dimensions, where a density
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
        """Combines the ratios of S bandwidths: [..., S, N] → [..., N]."""
        return ratios.mean(dim=-2) if self.ratio_reduction == "mean" else ratios.sum(dim=-2)

    def _sigmas(self) -> tuple[float, ...]:
        return tuple(s**0.5 for s in self.bandwidths) if self.bandwidth_unit == "variance" else self.bandwidths

    def _divergence(self, ratio: Tensor, pd: Tensor) -> Tensor:
        return pd if self.divergence == "pearson" else ratio.mean(dim=-1)

    def _reduce(self, ratio: Tensor) -> Tensor:
        return ratio.sum(dim=-1) if self.positivity_reduction == "sum" else ratio.mean(dim=-1)


def _filled_by_preset(schema: dict[str, Any]) -> None:
    """Edits the JSON schema: a preset fills the fields without a default, except K; null means the preset's value."""
    for key in _PAPER.keys() & schema["properties"]:
        whole = schema["properties"][key]
        about = {word: whole.pop(word) for word in ("default", "description", "title") if word in whole}
        schema["properties"][key] = {"anyOf": [whole, {"type": "null"}], **about}
    given = [key for key in schema["required"] if key in _PAPER]
    schema["required"] = [key for key in schema["required"] if key not in _PAPER]
    schema["anyOf"] = [{"required": ["preset"]}, {"required": given}]
