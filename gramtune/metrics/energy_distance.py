"""Energy distance to the mixture that the data were drawn from (Székely & Rizzo 2013); uses the exact mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import classes, register

_CHUNK = 1024
_FAR = 50.0
"""The ‖x − c‖²/2s² at which ₁F₁ switches from its power series to its asymptotic series; both are exact there."""
_NEAR_TERMS, _FAR_TERMS = 150, 15


@register
class EnergyDistance(Metric):
    """2 E‖X − Y‖^α − E‖X − X'‖^α − E‖Y − Y'‖^α for samples X and an equal mixture Y of isotropic Gaussians.

    E‖X − X'‖^α is a U-statistic over pairs of different samples. The other two terms are exact, so the value is
    unbiased for any number of samples. Its expectation is 0 only for X ~ Y; the value is then negative about half the
    time. A small α gives more weight to the sharpness of the modes and less to their positions.
    """

    extractor: ClassVar[str] = "identity"
    needs_real: ClassVar[bool] = False
    name: Literal["energy_distance"] = "energy_distance"
    power: Annotated[float, Field(gt=0, lt=2)] = 0.1
    """α."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """The value, in data units to the power α, and its standard error, which is too large by a third for X ~ Y."""
        return {"energy_distance": "min", "energy_distance_se": "min"}

    @property
    def least(self) -> tuple[int, int]:
        """Two generated samples, for one pair; no held-out samples."""
        return 2, 0

    def check(self, data: Dataset) -> None:
        """Raises ValueError unless the data are a known mixture."""
        if data.mixture() is None:
            known = [name for name, cls in classes(Dataset).items() if cls.mixture is not Dataset.mixture]
            raise ValueError(
                f"metric energy_distance needs data that are a known mixture ({', '.join(known)}), not {data.name}; "
                "sliced_wasserstein needs none"
            )

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        """The mixture that the data were drawn from, and its E‖Y − Y'‖^α."""
        mixture = data.mixture()
        assert mixture is not None, "refused by check"
        centres = mixture.centres.double()
        within = mean_power(centres, centres, math.sqrt(2) * mixture.std, self.power).mean()
        return {"centres": centres, "std": torch.tensor(mixture.std, dtype=torch.float64), "within": within}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """{energy_distance, energy_distance_se} of samples [N, d], in float64. Raises ValueError if N < 2."""
        if len(fake) < 2:
            raise ValueError(f"an energy distance needs at least 2 samples, got {len(fake)}")
        x = fake.double()
        to_mixture = mean_power(x, reference["centres"].to(x), reference["std"].item(), self.power).mean(dim=1)
        to_others, second = _pairs(x, self.power)
        value = 2 * to_mixture.mean() - to_others.mean() - reference["within"].to(x)
        return {
            "energy_distance": value.item(),
            "energy_distance_se": _variance(to_mixture, to_others, second).sqrt().item(),
        }


def mean_power(points: Tensor, centres: Tensor, std: float, power: float) -> Tensor:
    """E‖x − Y‖^α for Y ~ N(c, s² I) and each pair of x [N, d] and c [M, d], float64: [N, M].

    (s√2)^α Γ((d + α)/2)/Γ(d/2) ₁F₁(−α/2; d/2; −‖x − c‖²/2s²), the moment of a noncentral χ.
    """
    a, b = -power / 2, points.shape[1] / 2
    z = _distances(points, centres).square() / (2 * std**2)
    scale = (std * math.sqrt(2)) ** power
    gammas = math.exp(math.lgamma(b - a) - math.lgamma(b))
    near, far = z.clamp_max(_FAR), z.clamp_min(_FAR)
    mean: Tensor = scale * torch.where(z < _FAR, gammas * _kummer(a, b, near), far.pow(-a) * _asymptotic(a, b, far))
    return mean


def _kummer(a: float, b: float, z: Tensor) -> Tensor:
    """₁F₁(a; b; −z) = e^−z ₁F₁(b − a; b; z) by its power series: all terms are positive, so nothing cancels."""
    term = torch.ones_like(z)
    total = term.clone()
    for n in range(_NEAR_TERMS):
        term = term * z * ((b - a + n) / ((b + n) * (n + 1)))
        total += term
    return total * (-z).exp()


def _asymptotic(a: float, b: float, z: Tensor) -> Tensor:
    """₁F₁(a; b; −z) z^a Γ(b − a)/Γ(b) = Σ_n (a)_n (a − b + 1)_n / (n! z^n) for large z."""
    term = torch.ones_like(z)
    total = term.clone()
    for n in range(_FAR_TERMS):
        term = term * ((a + n) * (a - b + 1 + n) / (n + 1)) / z
        total += term
    return total


def _pairs(x: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """For ‖x_i − x_j‖^α, i ≠ j: the mean over j for each i, [N], and the mean of the squares, []."""
    n = len(x)
    sums, squares = [], x.new_zeros(())
    for part in x.split(_CHUNK):
        powers = _distances(part, x).pow_(power)
        sums.append(powers.sum(dim=1))
        squares += powers.square_().sum()
    return torch.cat(sums) / (n - 1), squares / (n * (n - 1))


def _variance(to_mixture: Tensor, to_others: Tensor, second: Tensor) -> Tensor:
    """Variance of the value over draws of the samples, from its Hoeffding decomposition, as `kid.mmd2_variance` is.

    V₁ = 4 Var φ/N with φ(x) = E‖x − Y‖^α − E‖x − X'‖^α and V₂ = 2 E h̃²/N², h̃ the degenerate part of ‖x − x'‖^α.
    Row means in place of φ give V₁ + 2 V₂ in expectation; so V₂ is subtracted, and the result is at least V₂.
    """
    n = len(to_others)
    first = 4 * (to_mixture - to_others).var() / n
    degenerate = second - 2 * to_others.square().mean() + to_others.mean().square()
    least = 2 * degenerate.clamp_min(0) / n**2
    return torch.maximum(first - least, least)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖, [N, M], without a matrix product: that gives 1e-8 for equal points, and 1e-8 to the power 0.1 is
    0.16."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
