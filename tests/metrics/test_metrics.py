"""Distances against reference code, closed forms and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor

from gramtune.components import Component, FeatureExtractor, Metric
from gramtune.data.digits import Digits
from gramtune.data.gaussian import Gaussian
from gramtune.data.ring import Ring
from gramtune.metrics.energy_distance import EnergyDistance, mean_power
from gramtune.metrics.frechet import Fid, FidDigits, frechet_distance, moments
from gramtune.metrics.inception_score import InceptionScore
from gramtune.metrics.kid import Kid, KidDigits, kernel_means
from gramtune.metrics.modes import Modes
from gramtune.metrics.precision_recall import DigitsPrecisionRecall, InceptionPrecisionRecall
from gramtune.metrics.sliced_wasserstein import SlicedWasserstein
from gramtune.registry import classes, create
from gramtune.stats.neighbours import nearest

Small = Callable[[type[Component], str], dict[str, Any]]
NAMES = list(classes(Metric))
RING = Ring()


def points(n: int, d: int, seed: int = 0) -> Tensor:
    """Correlated, well-conditioned features [n, d], float64."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.eye(d, dtype=torch.float64) + 0.3 * torch.randn(d, d, generator=rng, dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ mixing


def fid(real: Tensor, fake: Tensor) -> float:
    return frechet_distance(moments(real), fake)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, small: Small) -> None:
    """The declared keys, finite plain floats, the same at every call, from float32 features too."""
    metric = classes(Metric)[name].model_validate(small(Metric, name))
    assert metric.extractor in classes(FeatureExtractor)
    metric.check(RING)
    real, fake = points(400, 2), points(300, 2, seed=1) * 0.7 + 1
    real = real if metric.needs_real else real[:0]
    reference = metric.reference(real.float(), RING)
    values = metric.compute(reference, fake.float()) | metric.of_training(1.5)
    assert values.keys() == metric.directions.keys()
    assert set(metric.directions.values()) <= {"min", "max"}
    assert all(type(value) is float and math.isfinite(value) for value in values.values())
    assert metric.compute(metric.reference(real.float(), RING), fake.float()) | metric.of_training(1.5) == values
    assert metric.needs_samples == bool(metric.compute(reference, fake.float()))
    needed, reason = metric.min_samples(RING, 2)
    assert needed >= 2
    assert reason


def test_keys_of_all_metrics_differ() -> None:
    """Two metrics with one key would overwrite each other in the results."""
    keys = [key for name in NAMES for key in create(Metric, name).directions]
    assert len(set(keys)) == len(keys) >= 14


@pytest.mark.parametrize("name", NAMES)
def test_global_generator_is_left_alone(name: str, small: Small) -> None:
    metric = classes(Metric)[name].model_validate(small(Metric, name))
    before = torch.random.get_rng_state()
    metric.compute(metric.reference(points(50, 2), RING), points(50, 2, seed=1))
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


@pytest.mark.parametrize("n", [3, 200])
def test_moments_equal_numpy_from_float32_features(n: int) -> None:
    """float32 sums over a large offset would lose the covariance."""
    x = (points(n, 3) + 1000).float()
    mean, factor = vars(moments(x)).values()
    assert mean.dtype == factor.dtype == torch.float64
    np.testing.assert_allclose(mean, x.double().numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(factor @ factor.mT, np.cov(x.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-10)


def test_identical_sets_have_distance_zero() -> None:
    x = points(300, 16)
    assert fid(x, x) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("mixed", [False, True], ids=["as they are", "mixed"])
@pytest.mark.parametrize("n", [50, 300])
def test_features_of_very_different_scales_never_have_a_negative_distance(n: int, mixed: bool) -> None:
    """The error is bounded relative to the traces, which the largest scale makes."""
    x = points(n, 64) * torch.logspace(-8, 4, 64, dtype=torch.float64)
    x = x @ points(64, 64, seed=1) if mixed else x
    trace, shift = float(x.var(dim=0).sum()), torch.full((64,), 1e3, dtype=torch.float64)
    assert 0 <= fid(x, x) <= 1e-6 * trace
    assert fid(x, x + shift) >= 64e6 * (1 - 1e-9)
    assert fid(x, x + shift) == pytest.approx(64e6, abs=1e-6 * trace)
    assert fid(x, 2 * x) == pytest.approx(trace + float(x.mean(dim=0).square().sum()), abs=1e-6 * trace)


def test_translation_and_scale_are_known() -> None:
    """A shift by c costs ‖c‖²; a scaling by s costs (1 − s)²(‖μ‖² + Tr Σ)."""
    x = points(300, 5)
    shift = torch.tensor([3.0, 0, -4, 0, 0], dtype=torch.float64)
    assert fid(x, x + shift) == pytest.approx(25, rel=1e-9)
    second_moment = x.mean(dim=0).square().sum() + x.var(dim=0).sum()
    assert fid(x, 2.5 * x) == pytest.approx(1.5**2 * float(second_moment), rel=1e-9)


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


def plain_frechet(real: Tensor, fake: Tensor) -> float:
    """From its definition: Tr(Σ_p Σ_q)^½ by the eigenvalues of the product itself, in NumPy."""
    p, q = (np.cov(x.numpy(), rowvar=False) for x in (real, fake))
    roots = np.sqrt(np.linalg.eigvals(p @ q).real.clip(0)).sum()
    shift = np.square(real.numpy().mean(axis=0) - fake.numpy().mean(axis=0)).sum()
    return float(shift + np.trace(p) + np.trace(q) - 2 * roots)


@pytest.mark.parametrize("dead", [0, 3], ids=["all features alive", "three dead ones"])
@pytest.mark.parametrize("n", [10, 20, 32, 33, 200])
@pytest.mark.parametrize("m", [9, 32, 40, 300])
def test_frechet_equals_its_definition_on_either_side_of_every_size(m: int, n: int, dead: int) -> None:
    """Each branch for fewer or more samples than dimensions on either side; dead features defeat Cholesky."""
    real, fake = points(m, 32), points(n, 32, seed=1) * 1.2 + 0.1
    real[:, :dead] = 0
    assert fid(real, fake) == pytest.approx(plain_frechet(real, fake), rel=1e-5)


def test_a_feature_that_is_the_sum_of_others_is_fine() -> None:
    """A singular covariance whose rounding Cholesky may or may not take for a regular one."""
    real, fake = points(300, 8), points(200, 8, seed=1) * 1.2
    lifted = torch.cat((torch.eye(8, dtype=torch.float64), torch.full((8, 4), 0.5, dtype=torch.float64)), dim=1)
    assert fid(real @ lifted, fake @ lifted) == pytest.approx(plain_frechet(real @ lifted, fake @ lifted), rel=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 samples, got {n}"):
        moments(points(n, 3))
    with pytest.raises(ValueError, match=f"at least 2 samples, got {n}"):
        frechet_distance(moments(points(5, 3)), points(n, 3))


def test_needed_samples_are_said() -> None:
    assert Fid().min_samples(RING, 2048)[0] == 2049
    assert FidDigits().min_samples(RING, 64)[0] == 65
    assert Modes().min_samples(RING, 2)[0] == 80


def test_the_name_tells_the_features() -> None:
    assert (Fid().directions, Fid.extractor) == ({"fid": "min"}, "inception")
    assert (FidDigits().directions, FidDigits.extractor) == ({"fid_digits": "min"}, "digits_cnn")


# Sliced Wasserstein


def sliced(real: Tensor, fake: Tensor, **fields: int) -> float:
    metric = SlicedWasserstein(**fields)
    return metric.compute(metric.reference(real, RING), fake)["sliced_wasserstein"]


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


# Energy distance


SUBMISSION = Ring(radius=2.0, std=0.2)


def energy(fake: Tensor, data: Ring | Gaussian = SUBMISSION, power: float = 0.1) -> tuple[float, float]:
    metric = EnergyDistance(power=power)
    values = metric.compute(metric.reference(fake[:0], data), fake)
    return values["energy_distance"], values["energy_distance_se"]


def ring_points(n: int, seed: int, modes: int = 8, scale: float = 1.0) -> Tensor:
    """Of SUBMISSION: the first `modes` modes alone, with `scale` times its spread."""
    rng = torch.Generator().manual_seed(seed)
    mode = torch.randint(modes, (n,), generator=rng)
    return SUBMISSION.centres()[mode] + scale * SUBMISSION.std * torch.randn(n, 2, generator=rng)


@pytest.mark.parametrize("power", [0.1, 1.0, 1.9])
@pytest.mark.parametrize("distance", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_mean_power_of_a_distance_equals_its_integral(d: int, distance: float, power: float) -> None:
    """∫ r^α p(r) dr over the noncentral χ density of r = ‖x − Y‖/s, from scipy."""
    std = 0.7
    density = scipy.stats.ncx2(d, (distance / std) ** 2) if distance else scipy.stats.chi2(d)
    expected, error = scipy.integrate.quad(
        lambda r: (std * r) ** power * 2 * r * density.pdf(r * r), 0, distance / std + 12, limit=400, points=[1e-3, 1]
    )
    assert error < 1e-6
    x, c = torch.zeros(1, d, dtype=torch.float64), torch.full((1, d), distance / d**0.5, dtype=torch.float64)
    assert mean_power(x, c, std, power).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_power_is_smooth_where_the_series_ends_and_finite_far_beyond() -> None:
    """scipy's function is NaN from 1e20 on, where a generator that runs away soon is."""
    x = torch.tensor([[1414.2135], [1414.2136], [1e30], [1e150]], dtype=torch.float64)
    below, above, *far = mean_power(x, torch.zeros(1, 1, dtype=torch.float64), 1.0, 0.1).squeeze(1).tolist()
    assert above == pytest.approx(below, rel=1e-8)
    assert far == pytest.approx([1e3, 1e15], rel=1e-12)


def test_energy_distance_by_hand() -> None:
    """One Gaussian in one dimension, α = 1, two samples at 0: E|0 − Y| = √(2/π) s and E|Y − Y'| = 2s/√π."""
    value, _ = energy(torch.zeros(2, 1), Gaussian(dim=1, std=3.0), power=1.0)
    assert value == pytest.approx(2 * 3 * math.sqrt(2 / math.pi) - 2 * 3 / math.sqrt(math.pi), rel=1e-9)
    value, _ = energy(torch.tensor([[0.0], [5.0]]), Gaussian(dim=1, std=1e-9), power=1.0)
    assert value == pytest.approx(2 * 2.5 - 5, abs=1e-6)


def test_energy_distance_is_unbiased_with_an_honest_standard_error() -> None:
    """Over 100 draws of the truth itself, and of seven of the eight modes, few and many samples have one mean."""
    for modes, low, high in ((8, 0.6, 1.1), (7, 0.7, 1.4)):
        means = []
        for n in (30, 200):
            values, errors = zip(*(energy(ring_points(n, seed, modes)) for seed in range(100)), strict=True)
            spread = float(np.std(values, ddof=1))
            assert low < spread / float(np.sqrt(np.mean(np.square(errors)))) < high
            means.append((float(np.mean(values)), spread / 10))
        (few, few_se), (many, many_se) = means
        assert abs(few - many) < 4 * math.hypot(few_se, many_se)
        assert abs(many) < 4 * many_se if modes == 8 else many > 10 * many_se


def test_energy_distance_tells_spread_and_missing_modes_from_the_truth() -> None:
    """Modes half as wide again or half as wide, one of eight missing: sliced Wasserstein hides the first two."""
    truth, error = energy(ring_points(2000, 0))
    assert abs(truth) < 4 * error
    for worse in (ring_points(2000, 1, scale=1.5), ring_points(2000, 1, scale=0.5), ring_points(2000, 1, modes=7)):
        assert energy(worse)[0] > 5 * error


def test_energy_distance_of_a_generator_that_makes_one_point_is_finite() -> None:
    """Equal points have distance 0; a matrix product would make 1e-8 of it, and 0.16 of its power 0.1."""
    value, error = energy(torch.full((500, 2), 1 / 3))
    assert value > 0.5
    assert math.isfinite(error)
    shifted = torch.full((500, 2), 1e6 + 1 / 3)
    assert energy(shifted)[0] == pytest.approx(energy(shifted[:2])[0], rel=1e-9)


def test_energy_distance_needs_a_known_mixture_and_says_what_does_not() -> None:
    with pytest.raises(ValueError, match=r"known mixture .*ring.* not digits; sliced_wasserstein needs none"):
        EnergyDistance().check(Digits())
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        energy(torch.zeros(1, 2))


# Kernel inception distance


def kid(real: Tensor, fake: Tensor) -> tuple[float, float]:
    metric = KidDigits()
    values = metric.compute(metric.reference(real, RING), fake)
    return values["kid_digits"], values["kid_digits_se"]


def test_kid_by_hand() -> None:
    """d = 1, k(a, b) = (ab + 1)³; real {0, 1}: 1; fake {1, 2, 3}: (27 + 64 + 343)/3; between: (3·1 + 8 + 27 + 64)/6."""
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert kid(real, fake)[0] == pytest.approx(1 + 434 / 3 - 2 * 102 / 6, rel=1e-12)


def test_kid_equals_scikit_learns_kernel() -> None:
    from sklearn.metrics.pairwise import polynomial_kernel

    real, fake = points(70, 5), points(50, 5, seed=1) + 0.3
    pp, qq, qp = (polynomial_kernel(a, b) for a, b in ((real, real), (fake, fake), (fake, real)))
    off = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (pp, qq)]
    expected = off[0] + off[1] - 2 * qp.mean()
    whole = kid(real, fake)
    assert whole[0] == pytest.approx(expected, rel=1e-10)
    assert kid(real.flip(0), fake.flip(0)) == pytest.approx(whole, rel=1e-10)


def test_sums_over_a_kernel_matrix_in_any_number_of_blocks() -> None:
    real, fake = points(70, 5).double(), points(50, 5, seed=1).double()
    for pair in ((real,), (real, fake)):
        whole = kernel_means(*pair)
        for chunk in (1, 7, 70):
            blocks = kernel_means(*pair, chunk=chunk)
            for field in ("rows", "columns", "square"):
                torch.testing.assert_close(getattr(blocks, field), getattr(whole, field), rtol=1e-10, atol=0)


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
def test_kid_is_unbiased_and_its_standard_error_is_right(shift: float) -> None:
    """400 draws: small ones have the mean of a large one, and spread as they say, where the sets agree too.

    Where they agree the first-order variance vanishes: a delta method alone is off by √2 there.
    """
    draws = [kid(points_of(60, 2 * i, 0.0), points_of(40, 2 * i + 1, shift)) for i in range(400)]
    values, errors = (torch.tensor(column, dtype=torch.float64) for column in zip(*draws, strict=True))
    truth, truth_se = (0.0, 0.0) if shift == 0 else kid(points_of(6000, 9001, 0.0), points_of(6000, 9002, shift))
    assert values.mean().item() == pytest.approx(truth, abs=3 * math.hypot(values.std().item() / 20, truth_se))
    assert errors.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=0.15)
    if shift == 0:
        assert 0.3 < (values < 0).double().mean() < 0.8, "an unbiased estimate of 0 is negative about half the time"


def points_of(n: int, seed: int, mean: float) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def test_kid_has_its_own_name_and_spread() -> None:
    assert list(Kid().directions) == ["kid", "kid_se"]
    assert (Kid.extractor, KidDigits.extractor) == ("inception", "digits_cnn")


# The bias of FID (Bińkowski et al. 2018, appendix D; the example of Arbel's and Gretton's slides, d = 64 for 2048)


def relu_normal(n: int, mean: float, factor: Tensor | None, rng: torch.Generator) -> Tensor:
    """relu(N(mean · 1, F Fᵀ)): [n, 64]."""
    noise = torch.randn(n, 64, generator=rng, dtype=torch.float64)
    return ((noise if factor is None else noise @ factor.mT) + mean).relu()


def test_fid_orders_three_relu_normals_wrongly_and_kid_does_not() -> None:
    """P₁ = relu N(0, I), P₂ = relu N(1, 0.8 Σ + 0.2 I), Q = relu N(1, I), Σ = (4/d) C Cᵀ: P₂ is nearer to Q.

    FID from 100 samples says P₁ every time, even though it knows Q's moments: its bias depends on the distribution.
    KID from 100 samples says P₂ every time, and its mean is that of many samples.
    """
    rng = torch.Generator().manual_seed(1)
    c = torch.randn(64, 64, generator=rng, dtype=torch.float64)
    factor = torch.linalg.cholesky(0.8 * 4 / 64 * c @ c.mT + 0.2 * torch.eye(64, dtype=torch.float64))
    p1, p2 = (0.0, None), (1.0, factor)
    q = relu_normal(100_000, 1.0, None, rng)
    q_moments = moments(q)

    def fid_to_q(n: int, p: tuple[float, Tensor | None]) -> float:
        return frechet_distance(q_moments, relu_normal(n, *p, rng))

    def kid_to_q(n: int, p: tuple[float, Tensor | None]) -> tuple[float, float]:
        return kid(relu_normal(n, 1.0, None, rng), relu_normal(n, *p, rng))

    assert fid_to_q(100_000, p1) > fid_to_q(100_000, p2) + 1
    assert all(fid_to_q(100, p1) < fid_to_q(100, p2) for _ in range(10))
    for p in (p1, p2):
        many, many_se = kid_to_q(5000, p)
        few = torch.tensor([kid_to_q(100, p)[0] for _ in range(50)], dtype=torch.float64)
        assert few.mean().item() == pytest.approx(many, abs=3 * math.hypot(few.std().item() / 50**0.5, many_se))
    assert all(kid_to_q(100, p1)[0] > kid_to_q(100, p2)[0] for _ in range(10))


# Modes


def modes(fake: Tensor, ring: Ring = RING, **fields: float) -> tuple[float, float]:
    metric = Modes.model_validate(fields)
    values = metric.compute(metric.reference(torch.empty(0, ring.dim), ring), fake)
    return values["modes"], values["high_quality"]


@pytest.mark.parametrize(("dim", "inside"), [(2, 0.98889), (3, 0.97071)])
def test_the_ring_itself_has_all_modes(dim: int, inside: float) -> None:
    """P(χ_d ≤ 3) of the samples are of high quality."""
    ring = Ring(dim=dim)
    captured, quality = modes(ring.held_out(Path("unused")), ring)
    assert captured == 8
    assert quality == pytest.approx(inside, abs=0.005)


def test_modes_and_quality_of_known_samples() -> None:
    """Two whole modes, one with a single sample of a thousand, the rest of the samples in the middle."""
    centres = RING.centres()
    fake = torch.cat((centres[[0] * 300], centres[[3] * 100], centres[[5]], torch.zeros(599, 2)))
    assert modes(fake) == (2, pytest.approx(0.401))
    assert modes(fake, captured_share=1e-6) == (3, pytest.approx(0.401)), "one sample is enough for any share"
    assert modes(fake, captured_share=1.0) == (1, pytest.approx(0.401)), "125 samples are the due of a mode"


def test_a_mode_ends_at_three_standard_deviations() -> None:
    offsets = torch.tensor([0.0299, 0.0301])
    fake = RING.centres()[[2, 2]] + torch.stack((offsets, torch.zeros(2)), dim=1)
    assert modes(fake)[1] == 0.5
    assert modes(fake, within=4.0)[1] == 1


def test_no_modes_far_away() -> None:
    assert modes(torch.full((100, 2), 50.0)) == (0, 0)


def test_modes_of_data_without_known_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"known \(gaussian, ring\), not digits") as caught:
        Modes().check(Digits())
    assert len(str(caught.value).splitlines()) == 1


# Precision and recall


def precision_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    metric = DigitsPrecisionRecall(neighbours=neighbours)
    values = metric.compute(metric.reference(real, RING), fake)
    return values["precision_digits"], values["recall_digits"]


def test_precision_and_recall_by_hand() -> None:
    """k = 1. Real 0, 1, 10: radii 1, 1, 9. Fake −1, 3, 30: radii 4, 4, 27.

    −1 is 1 from 0; 3 is 7 from 10; 30 is in no ball. 0 and 1 are in the ball of −1; 10 is in that of 30, 20 away.
    """
    real, fake = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[-1.0], [3.0], [30.0]])
    assert precision_recall(real, fake, neighbours=1) == (pytest.approx(2 / 3), 1)
    assert precision_recall(fake, real, neighbours=1) == (1, pytest.approx(2 / 3))


def test_precision_and_recall_equal_scikit_learns_neighbours() -> None:
    from sklearn.neighbors import NearestNeighbors

    real, fake = points(1500, 4), points(1200, 4, seed=1) * 0.6 + 0.5

    def share(of: Tensor, on: Tensor) -> float:
        radii = NearestNeighbors(n_neighbors=4).fit(on).kneighbors(on)[0][:, 3]
        return float((np.linalg.norm(of.numpy()[:, None] - on.numpy()[None], axis=2) <= radii).any(axis=1).mean())

    expected = share(fake, real), share(real, fake)
    assert 0.5 < expected[1] < expected[0] < 1, "a trivial case would agree with anything"
    assert precision_recall(real, fake) == pytest.approx(expected, abs=1e-12)


def test_dropped_modes_cost_recall_and_noise_costs_precision() -> None:
    real = torch.cat((points(300, 3), points(300, 3, seed=1) + 30))
    assert precision_recall(real, real) == (1, 1)
    dropped = precision_recall(real, points(300, 3, seed=2))
    assert dropped[0] > 0.9
    assert dropped[1] == pytest.approx(0.5, abs=0.06)
    noisy = precision_recall(real, torch.cat((real + 0.01, points(600, 3, seed=3) - 60)))
    assert noisy[0] == pytest.approx(0.5, abs=0.02)
    assert noisy[1] == 1


def test_precision_recall_tells_its_features_and_needs_neighbours() -> None:
    assert list(InceptionPrecisionRecall().directions) == ["precision", "recall"]
    assert InceptionPrecisionRecall.extractor == "inception"
    assert DigitsPrecisionRecall().min_samples(RING, 64)[0] == 4
    with pytest.raises(ValueError, match="at least 4 points, got 3"):
        precision_recall(points(10, 2), points(3, 2))


# Nearest neighbours


def test_nearest_training_images_of_bytes() -> None:
    """In float32 or as bytes, 0 and 255 would be neighbours."""
    train = torch.tensor([0, 250, 255, 100], dtype=torch.uint8).view(4, 1, 1, 1).expand(-1, 3, 2, 2)
    found = nearest(torch.tensor([254, 5], dtype=torch.uint8).view(2, 1, 1, 1).expand(-1, 3, 2, 2), train, 2)
    assert found.indices.tolist() == [[2, 1], [0, 3]]
    torch.testing.assert_close(found.distances, torch.tensor([[1, 4], [5, 95]]).double() * 12**0.5)


def test_nearest_in_any_number_of_pieces() -> None:
    queries, train = points(25, 6), points(80, 6, seed=1)
    whole = nearest(queries, train, 5)
    pieces = nearest(queries, train, 5, chunk=7)
    assert torch.equal(whole.indices, pieces.indices)
    torch.testing.assert_close(whole.distances, pieces.distances)
    assert torch.equal(whole.indices[:, 0], torch.cdist(queries, train).argmin(dim=1))


# Inception score


def inception_score(logits: Tensor, **fields: int) -> tuple[float, float]:
    metric = InceptionScore.model_validate(fields)
    values = metric.compute(metric.reference(logits[:0], RING), logits)
    return values["inception_score"], values["inception_score_std"]


def test_inception_score_lies_between_one_and_the_number_of_classes() -> None:
    sure = torch.eye(20).repeat(30, 1) * 1000
    assert inception_score(sure) == pytest.approx((20, 0), abs=1e-9)
    assert inception_score(torch.zeros(600, 20)) == pytest.approx((1, 0), abs=1e-9)
    assert inception_score(sure[torch.zeros(600, dtype=torch.long)]) == pytest.approx((1, 0), abs=1e-9)


def test_inception_score_equals_its_definition() -> None:
    """As its authors compute it: probabilities, parts in order, NumPy's standard deviation."""
    logits = points(200, 7) * 2
    p = torch.softmax(logits, dim=1).numpy()
    scores = []
    for i in range(10):
        part = p[20 * i : 20 * i + 20]
        scores.append(np.exp((part * (np.log(part) - np.log(part.mean(axis=0)))).sum(axis=1).mean()))
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-10)


def test_inception_score_needs_a_sample_per_split() -> None:
    with pytest.raises(ValueError, match="10 splits needs as many samples, got 9"):
        inception_score(torch.zeros(9, 4))
    assert InceptionScore().min_samples(RING, 1008)[0] == 1008
