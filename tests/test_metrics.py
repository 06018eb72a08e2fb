"""Distances against reference code, closed forms and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor

from gramtune.components import Component, FeatureExtractor, Metric
from gramtune.metrics.frechet import Fid, FidDigits, frechet_distance, mean_and_covariance, moments
from gramtune.metrics.sliced_wasserstein import SlicedWasserstein
from gramtune.registry import classes

Small = Callable[[type[Component], str], dict[str, Any]]
NAMES = list(classes(Metric))


def points(n: int, d: int, seed: int = 0) -> Tensor:
    """Correlated, well-conditioned features [n, d], float64."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.eye(d, dtype=torch.float64) + 0.3 * torch.randn(d, d, generator=rng, dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ mixing


def fid(real: Tensor, fake: Tensor) -> float:
    return frechet_distance(moments(real), *mean_and_covariance(fake))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, small: Small) -> None:
    """The declared keys, finite plain floats, the same at every call, from float32 features too."""
    metric = classes(Metric)[name].model_validate(small(Metric, name))
    assert metric.extractor in classes(FeatureExtractor)
    real, fake = points(400, 2), points(300, 2, seed=1) * 0.7 + 1
    reference = metric.reference(real.float())
    values = metric.compute(reference, fake.float())
    assert values.keys() == metric.directions.keys()
    assert set(metric.directions.values()) <= {"min", "max"}
    assert all(type(value) is float and math.isfinite(value) for value in values.values())
    assert metric.compute(metric.reference(real.float()), fake.float()) == values
    assert metric.min_samples(2) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_global_generator_is_left_alone(name: str, small: Small) -> None:
    metric = classes(Metric)[name].model_validate(small(Metric, name))
    before = torch.random.get_rng_state()
    metric.compute(metric.reference(points(50, 2)), points(50, 2, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)


# Fréchet


@pytest.mark.filterwarnings("ignore:The `disp` argument")
@pytest.mark.parametrize("d", [2, 7, 64])
def test_frechet_equals_pytorch_fid(d: int) -> None:
    real, fake = points(20 * d + 50, d), points(15 * d + 50, d, seed=1) * 1.3 + 0.2
    sides = [(x.mean(dim=0).numpy(), np.cov(x.numpy(), rowvar=False)) for x in (real, fake)]
    expected = calculate_frechet_distance(*sides[0], *sides[1])
    assert fid(real, fake) == pytest.approx(expected, rel=1e-6)
    assert fid(fake, real) == pytest.approx(expected, rel=1e-6)


def test_moments_equal_numpy_from_float32_features() -> None:
    """float32 sums over a large offset would lose the covariance."""
    x = (points(200, 3) + 1000).float()
    mean, covariance = mean_and_covariance(x)
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(mean, x.double().numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x.double().numpy(), rowvar=False), rtol=1e-9)
    factor = moments(x).factor
    torch.testing.assert_close(factor @ factor.mT, covariance, atol=1e-10, rtol=1e-10)


def test_identical_sets_have_distance_zero() -> None:
    x = points(300, 16)
    assert fid(x, x) == pytest.approx(0, abs=1e-10)


def test_translation_and_scale_are_known() -> None:
    """A shift by c costs ‖c‖²; a scaling by s costs (1 − s)²(‖μ‖² + Tr Σ)."""
    x = points(300, 5)
    shift = torch.tensor([3.0, 0, -4, 0, 0], dtype=torch.float64)
    assert fid(x, x + shift) == pytest.approx(25, rel=1e-9)
    mean, covariance = mean_and_covariance(x)
    assert fid(x, 2.5 * x) == pytest.approx(1.5**2 * float(mean.square().sum() + covariance.trace()), rel=1e-9)


def test_order_and_batches_do_not_matter() -> None:
    real, fake = points(200, 8), points(150, 8, seed=1)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    assert fid(real, fake[order]) == pytest.approx(fid(real, fake), rel=1e-12)


def test_singular_covariances_are_fine() -> None:
    """Features on a line in R³, ±1 against ±2: (σ_p − σ_q)² = 2 with Σ = 2 and 8; no jitter, no imaginary part."""
    line = torch.tensor([[1.0, 0, 0], [-1, 0, 0]], dtype=torch.float64)
    assert fid(line, 2 * line) == pytest.approx(2, abs=1e-12)
    turned = line[:, [1, 0, 2]]  # the same line along another axis: Σ_p Σ_q = 0
    assert fid(line, turned) == pytest.approx(4, abs=1e-12)


def test_fewer_samples_than_dimensions_still_give_a_number() -> None:
    value = fid(points(10, 32), points(12, 32, seed=1))
    assert math.isfinite(value)
    assert value > 0


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 samples, got {n}"):
        mean_and_covariance(points(n, 3))


def test_needed_samples_are_said() -> None:
    assert (Fid().min_samples(2048), FidDigits().min_samples(64)) == (2049, 65)


def test_the_name_tells_the_features() -> None:
    assert (Fid().directions, Fid.extractor) == ({"fid": "min"}, "inception")
    assert (FidDigits().directions, FidDigits.extractor) == ({"fid_digits": "min"}, "digits_cnn")


# Sliced Wasserstein


def sliced(real: Tensor, fake: Tensor, **fields: int) -> float:
    metric = SlicedWasserstein(**fields)
    return metric.compute(metric.reference(real), fake)["sliced_wasserstein"]


def test_sliced_wasserstein_of_identical_sets_is_zero_in_any_order() -> None:
    x = points(500, 3)
    assert sliced(x, x) == 0
    assert sliced(x, x.flip(0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shift", [0.5, -3.0])
def test_sliced_wasserstein_of_a_shift_in_one_dimension_is_the_shift(shift: float) -> None:
    x = points(500, 1)
    assert sliced(x, x + shift) == pytest.approx(abs(shift), rel=1e-9)


def test_sliced_wasserstein_of_a_shift_in_the_plane() -> None:
    """√ of the mean of (c·a)² over directions a: ‖c‖/√2 for many of them."""
    x = points(500, 2)
    assert sliced(x, x + torch.tensor([3.0, 4.0]), directions_count=4000) == pytest.approx(5 / 2**0.5, rel=0.03)


def test_sliced_wasserstein_of_a_widened_gaussian() -> None:
    """In one dimension W₂(N(0, 1), N(0, 3²)) = 2; from quantiles up to a tail."""
    x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert sliced(x, 3 * x) == pytest.approx(2, rel=0.03)


def test_sliced_wasserstein_orders_by_distance() -> None:
    real = points(400, 2)
    distances = [sliced(real, points(300, 2, seed=1) + shift) for shift in (0.0, 0.5, 1.0, 4.0)]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[1]
