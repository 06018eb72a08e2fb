"""Objectives against independent plain implementations, by hand on three points, and during training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gramtune.components import Context, CriticSpec, Losses, Network, Objective, View, losses_function
from gramtune.objectives.gan import Gan
from gramtune.objectives.gram import PRESETS, Gram
from gramtune.objectives.mmd_gan import MmdGan
from gramtune.objectives.mmd_net import MmdNet
from gramtune.pixels import to_float
from gramtune.registry import classes
from gramtune.training.config import TrialConfig
from gramtune.training.replicates import Replicates
from gramtune.training.seeds import stream

Fitting = Callable[..., TrialConfig | None]
NAMES = list(classes(Objective))
PAIRS = [(objective, network) for objective in NAMES for network in classes(Network)]


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(x: Tensor) -> View:
    return View(x, x)


def gram(**fields: Any) -> Gram:
    return Gram.model_validate({"critic_dim": 2, "bandwidths": [0.5, 2.0], **fields})


def gradients(loss: Tensor | None, inputs: list[Tensor]) -> list[Tensor]:
    assert loss is not None
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True))


def check_equal(
    objective: Objective, reference: Callable[[Tensor, Tensor], Losses], fake: Tensor, real: Tensor
) -> None:
    """Losses and their gradients with respect to both inputs agree to 1e-8, in float64."""
    fake, real = fake.requires_grad_(), real.requires_grad_()
    compare(objective.losses(features(real), features(fake)), reference(fake, real), [fake, real])


def compare(ours: Losses, theirs: Losses, inputs: list[Tensor]) -> None:
    for mine, other in ((ours.critic, theirs.critic), (ours.generator, theirs.generator)):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.shape == ()
            torch.testing.assert_close(mine, other, atol=1e-8, rtol=1e-8)
            torch.testing.assert_close(gradients(mine, inputs), gradients(other, inputs), atol=1e-8, rtol=1e-8)


# GRAM


def plain_kernel(a: Tensor, b: Tensor, variance: float) -> Tensor:
    return torch.stack([torch.stack([torch.exp(-((x - y) ** 2).sum() / (2 * variance)) for y in b]) for x in a])


def plain_gram(objective: Gram, fake: Tensor, real: Tensor) -> Losses:
    """Eq. 8–10 with loops, a plain inverse and no shared Gram matrix."""
    n, m = len(fake), len(real)
    ratios, mmds = [], []
    for sigma in objective.bandwidths:
        variance = sigma if objective.bandwidth_unit == "variance" else sigma**2
        k_qq, k_qp, k_pp = (plain_kernel(a, b, variance) for a, b in ((fake, fake), (fake, real), (real, real)))
        inverse = torch.linalg.inv(k_qq + objective.ridge * torch.eye(n, dtype=torch.float64))
        ratios.append(n / m * (inverse @ k_qp @ torch.ones(m, dtype=torch.float64)))
        mmds.append(k_qq.sum() / n**2 - 2 * k_qp.sum() / (n * m) + k_pp.sum() / m**2)
    ratio = sum(ratios) if objective.ratio_reduction == "sum" else sum(ratios) / len(ratios)
    divergence = ((ratio - 1) ** 2).sum() / n if objective.divergence == "pearson" else ratio.sum() / n
    positive = ratio.sum() / (1 if objective.positivity_reduction == "sum" else n)
    mmd = sum(mmds) / (1 if objective.mmd_reduction == "sum" else len(mmds))
    generator = (mmd + objective.sqrt_offset) ** 0.5 if objective.sqrt_mmd else mmd
    return Losses(-(divergence + objective.positivity * positive), generator, {})


SWITCHES: list[dict[str, Any]] = [
    {},
    {"bandwidths": [1.0]},
    {"bandwidths": [0.1, 1, 10, 100]},
    {"bandwidth_unit": "variance"},
    {"ridge": 0.0},
    {"ridge": 0.3},
    {"divergence": "mean_ratio"},
    {"divergence": "mean_ratio", "positivity": 0.0},
    {"positivity": 0.0},
    {"positivity": 2.5},
    {"positivity_reduction": "sum"},
    {"ratio_reduction": "sum"},
    {"sqrt_mmd": False},
    {"mmd_reduction": "mean"},
    {"mmd_reduction": "mean", "sqrt_mmd": False},
    {"sqrt_offset": 0.0},
    {"sqrt_offset": 0.5, "mmd_reduction": "mean"},
    {"preset": "paper"},
    {"preset": "flow"},
    {"preset": "torch"},
    {"bandwidth_unit": "variance", "divergence": "mean_ratio", "ratio_reduction": "sum", "sqrt_mmd": False},
]


@pytest.mark.parametrize("fields", SWITCHES, ids=str)
@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 8)])
def test_gram_equals_a_plain_implementation(fields: dict[str, Any], n: int, m: int) -> None:
    objective = gram(**fields)
    check_equal(objective, lambda q, p: plain_gram(objective, q, p), points(n, 2) * 3, points(m, 2, seed=1) * 3 + 1)


def plain_ratio(objective: Gram, fake: Tensor, real: Tensor) -> Tensor:
    """Eq. 8 by its definition, combined over bandwidths."""
    ones, eye = torch.ones(len(real), dtype=torch.float64), torch.eye(len(fake), dtype=torch.float64)
    ratios = []
    for sigma in objective.bandwidths:
        variance = sigma if objective.bandwidth_unit == "variance" else sigma**2
        k_qq, k_qp = plain_kernel(fake, fake, variance), plain_kernel(fake, real, variance)
        ratios.append(len(fake) / len(real) * torch.linalg.inv(k_qq + objective.ridge * eye) @ k_qp @ ones)
    total = torch.stack(ratios).sum(dim=0)
    return total if objective.ratio_reduction == "sum" else total / len(ratios)


@pytest.mark.parametrize(
    "fields", [{}, {"ratio_reduction": "sum", "bandwidth_unit": "variance", "ridge": 0.3}], ids=str
)
def test_gram_monitors_the_squared_ratio_distance(fields: dict[str, Any]) -> None:
    """D* compares the ratio of the samples with that of their features, not one of them with itself."""
    objective = gram(**fields)
    fake, real, f_fake, f_real = (points(2, n, 2, seed=i) * 2 for i, n in enumerate((6, 7, 6, 7)))
    seen = objective.monitor(View(real, f_real), View(fake, f_fake))
    for r in range(2):
        in_data, projected = plain_ratio(objective, fake[r], real[r]), plain_ratio(objective, f_fake[r], f_real[r])
        assert seen["d_star"][r].item() == pytest.approx((in_data - projected).square().mean().item(), rel=1e-8)
        divergence = (in_data - 1).square().mean().item()
        assert seen["data_pearson_divergence"][r].item() == pytest.approx(divergence, rel=1e-8)


def test_a_projection_that_keeps_all_distances_has_no_ratio_distance() -> None:
    fake, real = points(1, 9, 2), points(1, 8, 2, seed=1) + 1
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    kept = gram().monitor(View(real, real @ turned + 3), View(fake, fake @ turned + 3))
    assert kept["d_star"].item() == pytest.approx(0, abs=1e-16)
    lost = gram().monitor(View(real, real[..., :1]), View(fake, fake[..., :1]))
    assert lost["d_star"].item() > 1e-3


def test_no_ratio_is_monitored_in_many_dimensions() -> None:
    assert gram().monitor(View(points(1, 8, 64), points(1, 8, 2)), View(points(1, 8, 64), points(1, 8, 2))) == {}


def test_every_switch_of_gram_was_tried() -> None:
    """But for the order of the steps, which tests/training/test_trainer.py tries."""
    tried = {key for fields in SWITCHES for key in fields}
    assert tried == set(Gram.model_fields) - {"name", "critic_dim", "critic_first"}


@pytest.mark.parametrize("fields", SWITCHES[1:], ids=str)
def test_every_switch_of_gram_does_something(fields: dict[str, Any]) -> None:
    """A hyperparameter that never reaches the loss is the field's oldest mistake."""
    real, fake = features(points(5, 2, seed=1) + 1), features(points(5, 2))
    default, changed = gram().losses(real, fake), gram(**fields).losses(real, fake)
    assert default.critic != changed.critic or default.generator != changed.generator


def solve3(a: list[list[Fraction]], b: list[Fraction]) -> list[Fraction]:
    """Cramer's rule."""

    def det(m: list[list[Fraction]]) -> Fraction:
        return (
            m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
        )

    replaced = [[[*row[:j], b[i], *row[j + 1 :]] for i, row in enumerate(a)] for j in range(3)]
    return [det(columns) / det(a) for columns in replaced]


def test_gram_by_hand_on_three_points() -> None:
    """σ² = 1/(2 ln 2) turns the kernel into 2^(−d²), so everything but √MMD² is a fraction.

    Generated 0, 1, 2; data 0, 1, 3; ridge 1/8.
    """
    half = Fraction(1, 2)
    k_qq = [[Fraction(1), half, half**4], [half, Fraction(1), half], [half**4, half, Fraction(1)]]
    k_qp = [[Fraction(1), half, half**9], [half, Fraction(1), half**4], [half**4, half, half]]
    k_pp = [[Fraction(1), half, half**9], [half, Fraction(1), half**4], [half**9, half**4, Fraction(1)]]
    ridged = [[value + Fraction(1, 8) * (i == j) for j, value in enumerate(row)] for i, row in enumerate(k_qq)]
    ratio = solve3(ridged, [sum(row, Fraction(0)) for row in k_qp])  # N/M = 1
    divergence = sum((r - 1) ** 2 for r in ratio) / 3
    mmd = (sum(map(sum, k_qq)) - 2 * sum(map(sum, k_qp)) + sum(map(sum, k_pp))) / 9
    # On paper: Σ K_qq = 5 + 1/8, Σ K_qp = 4 + 1/8 + 1/512, Σ K_pp = 4 + 1/8 + 1/256.
    assert mmd == Fraction(1, 9)

    objective = gram(critic_dim=1, bandwidths=[math.sqrt(1 / (2 * math.log(2)))], ridge=0.125, sqrt_mmd=False)
    fake, real = (features(torch.tensor(x, dtype=torch.float64).unsqueeze(1)) for x in ([0, 1, 2], [0, 1, 3]))
    losses = objective.losses(real, fake)
    assert losses.critic is not None
    assert losses.critic.item() == pytest.approx(-float(divergence + sum(ratio) / 3), abs=1e-12)
    assert losses.generator.item() == pytest.approx(float(mmd), abs=1e-12)
    assert losses.traces["mmd2"].item() == pytest.approx(float(mmd), abs=1e-12)
    assert losses.traces["pearson_divergence"].item() == pytest.approx(float(divergence), abs=1e-12)
    assert losses.traces["ratio_mean"].item() == pytest.approx(float(sum(ratio) / 3), abs=1e-12)


@pytest.mark.parametrize("fields", [{}, {"sqrt_mmd": False, "divergence": "mean_ratio"}, {"preset": "paper"}], ids=str)
def test_gram_gradients_equal_finite_differences(fields: dict[str, Any]) -> None:
    objective = gram(ridge=1e-2, **fields)

    def losses(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        both = objective.losses(features(real), features(fake))
        assert both.critic is not None
        return both.critic, both.generator

    assert torch.autograd.gradcheck(losses, (points(4, 2).requires_grad_(), points(5, 2, seed=1).requires_grad_()))


# Presets of GRAM

IMAGES = (1, 10, 100, 1000)
MMD_GAN_KERNELS = (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("preset", "bandwidths", "unit", "ridge", "divergence", "positivity", "ratio"),
    [
        ("paper", MMD_GAN_KERNELS, "std", 1e-3, "pearson", 1, "mean"),
        ("julia", IMAGES, "std", 1e-3, "pearson", 1, "mean"),
        ("flow", MMD_GAN_KERNELS, "variance", 0, "mean_ratio", 0, "mean"),
        ("torch", IMAGES, "std", 1e-3, "pearson", 1, "sum"),
    ],
)
def test_presets_are_the_authors_codes(
    preset: str,
    bandwidths: tuple[float, ...],
    unit: str,
    ridge: float,
    divergence: str,
    positivity: float,
    ratio: str,
) -> None:
    """The configuration shows what is really used, so that a table of results does."""
    objective = Gram.model_validate({"preset": preset, "critic_dim": 128})
    assert objective.model_dump() == {
        "name": "gram",
        "preset": preset,
        "critic_dim": 128,
        "bandwidths": bandwidths,
        "bandwidth_unit": unit,
        "ridge": ridge,
        "divergence": divergence,
        "positivity": positivity,
        "positivity_reduction": "sum",
        "ratio_reduction": ratio,
        "sqrt_mmd": True,
        "mmd_reduction": "mean",
        "sqrt_offset": 0.0,
        "critic_first": preset == "flow",
    }
    assert Gram.model_validate_json(objective.model_dump_json()) == objective


def test_the_submission_s_preset_differs_from_the_paper_s_in_three_terms_and_the_kernels() -> None:
    paper, submission = (
        Gram.model_validate({"preset": preset, "critic_dim": 10}).model_dump() for preset in ("paper", "submission")
    )
    assert {key: value for key, value in submission.items() if value != paper[key]} == {
        "preset": "submission",
        "bandwidths": (0.1, 1, 10, 100),
        "positivity_reduction": "mean",
        "mmd_reduction": "sum",
        "sqrt_offset": 1e-6,
    }


def test_the_constant_under_the_root_bounds_its_slope() -> None:
    """Witness: at MMD² of 1e-9 the slope of the plain root is 30 times as large as that of √(MMD² + 1e-6)."""
    fake, real = points(50, 2).requires_grad_(), points(50, 2) + 5e-5
    plain, bounded = (gram(sqrt_offset=c).losses(features(real), features(fake)) for c in (0.0, 1e-6))
    squared = plain.traces["mmd2"].item()
    assert 1e-10 < squared < 1e-8
    ((steep,), (flat,)) = (gradients(losses.generator, [fake]) for losses in (plain, bounded))
    torch.testing.assert_close(flat, steep * math.sqrt(squared / (squared + 1e-6)))
    coincident = gram(sqrt_offset=1e-6).losses(features(real), features(real)).generator
    assert coincident.item() == pytest.approx(1e-3, rel=1e-6)


def test_a_preset_sets_every_field_but_the_critic_s_dimension() -> None:
    (legal, none) = get_args(Gram.model_fields["preset"].annotation)
    assert (set(get_args(legal)), none) == (set(PRESETS), type(None))
    for values in PRESETS.values():
        assert values.keys() == Gram.model_fields.keys() - {"name", "preset", "critic_dim"}


def test_the_submission_s_preset_is_the_default() -> None:
    preset = Gram.model_validate({"preset": "submission", "critic_dim": 3})
    default = Gram.model_validate({"critic_dim": 3, "bandwidths": [0.1, 1, 10, 100]})
    assert preset.model_copy(update={"preset": None}) == default


def test_a_field_beside_the_preset_wins() -> None:
    given = {"preset": "flow", "critic_dim": 3, "ridge": 0.5, "bandwidths": [7]}
    objective = Gram.model_validate(given)
    assert (objective.ridge, objective.bandwidths, objective.bandwidth_unit) == (0.5, (7.0,), "variance")
    assert given == {"preset": "flow", "critic_dim": 3, "ridge": 0.5, "bandwidths": [7]}


def test_null_beside_a_preset_is_the_preset_s_value() -> None:
    """So that a case of a sweep can take what the base gives back."""
    objective = Gram.model_validate({"preset": "flow", "critic_dim": 3, "bandwidths": None, "ridge": None})
    assert objective == Gram.model_validate({"preset": "flow", "critic_dim": 3})
    with pytest.raises(ValidationError):
        Gram.model_validate({"critic_dim": 3, "bandwidths": None})


@pytest.mark.parametrize("preset", ["flwo", "", 3, ["flow"]], ids=str)
def test_an_unknown_preset_is_one_issue(preset: object) -> None:
    """Missing bandwidths would be a second issue, and not the user's."""
    with pytest.raises(ValidationError) as caught:
        Gram.model_validate({"preset": preset, "critic_dim": 3})
    (error,) = caught.value.errors()
    assert error["loc"] == ("preset",)
    assert all(name in error["msg"] for name in PRESETS)


def test_bandwidths_are_required_without_a_preset() -> None:
    with pytest.raises(ValidationError, match=r"bandwidths\n.*Field required"):
        Gram.model_validate({"critic_dim": 3})
    with pytest.raises(ValidationError, match=r"bandwidths\n.*Field required"):
        Gram.model_validate({"critic_dim": 3, "preset": None})


@pytest.mark.parametrize(("critic_dim", "dtype"), [(128, torch.float32), (2, torch.float32), (2, torch.float64)])
def test_flow_survives_without_a_ridge(critic_dim: int, dtype: torch.dtype) -> None:
    """Witness: in two dimensions Cholesky fails at once where the official code's inverse goes on."""
    fake, real = (points(64, critic_dim, seed=seed).to(dtype) for seed in (0, 1))
    flow = Gram.model_validate({"preset": "flow", "critic_dim": critic_dim})
    by_cholesky = flow.model_copy(update={"ridge": 1e-300}).losses(features(real), features(fake)).critic
    assert by_cholesky is not None
    assert by_cholesky.isnan().item() == (critic_dim == 2)

    fake, real = fake.requires_grad_(), real.requires_grad_()
    losses = flow.losses(features(real), features(fake))
    for loss in (losses.critic, losses.generator):
        assert loss is not None
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients(loss, [fake, real]))


def test_flow_diverges_where_two_features_coincide() -> None:
    fake, real = points(6, 3), points(6, 3, seed=1)
    fake[1] = fake[0]
    losses = Gram.model_validate({"preset": "flow", "critic_dim": 3}).losses(features(real), features(fake))
    assert losses.critic is not None
    assert losses.critic.isnan()


@pytest.mark.parametrize(
    "objective",
    [gram(), MmdNet(), MmdGan(critic_dim=2, autoencoder=False, feasible_set_reduction=False)],
    ids=lambda objective: objective.name,
)
def test_the_root_is_finite_where_rounding_makes_mmd_zero_or_less(objective: Objective) -> None:
    """Without the clip √MMD² of a set with itself is NaN, or has an infinite slope times zero."""
    sets = [torch.zeros(5, 2), *(points(16, 2, seed=seed).float() for seed in range(20))]
    at_most_zero = 0
    for x in sets:
        fake = x.clone().requires_grad_()
        losses = objective.losses(features(x), features(fake))
        at_most_zero += int(losses.traces["mmd2"] <= 0)
        assert losses.generator.isfinite()
        assert torch.autograd.grad(losses.generator, fake)[0].isfinite().all()
    assert at_most_zero >= 2, "nothing was clipped"


# Baselines


def plain_gan(fake: Tensor, real: Tensor) -> Losses:
    logits = nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    critic = logits(real, ones) + logits(fake, zeros)
    return Losses(critic, logits(fake, torch.ones_like(fake)), {})


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_gan_is_the_binary_cross_entropy(scale: float) -> None:
    check_equal(Gan(), plain_gan, points(6, 1) * scale, points(8, 1, seed=1) * scale)


def plain_mmd_net(objective: MmdNet, fake: Tensor, real: Tensor) -> Losses:
    mmds = []
    for sigma in objective.bandwidths:
        k_qq, k_qp, k_pp = (plain_kernel(a, b, sigma**2) for a, b in ((fake, fake), (fake, real), (real, real)))
        mmds.append(k_qq.mean() - 2 * k_qp.mean() + k_pp.mean())
    mmd = sum(mmds) / len(mmds)
    return Losses(None, mmd**0.5 if objective.sqrt_mmd else mmd, {})


@pytest.mark.parametrize("fields", [{}, {"bandwidths": [0.5, 3.0]}, {"sqrt_mmd": False}], ids=str)
def test_mmd_net_equals_a_plain_implementation(fields: dict[str, Any]) -> None:
    objective = MmdNet.model_validate(fields)
    check_equal(objective, lambda q, p: plain_mmd_net(objective, q, p), points(5, 3), points(7, 3, seed=1) + 1)


# MMD-GAN


def mmd_gan(**fields: Any) -> MmdGan:
    return MmdGan.model_validate({"critic_dim": 2, **fields})


def encoded(n: int, seed: int, shift: tuple[float, float]) -> View:
    """Samples, their features in two dimensions and their reconstructions, to be differentiated."""
    parts = points(n, 6, seed=seed), points(n, 2, seed=seed + 10), points(n, 6, seed=seed + 20)
    samples, projected, decoded = parts
    return View(*(x.requires_grad_() for x in (samples, projected + torch.tensor(shift), decoded)))


def plain_mmd_gan(objective: MmdGan, fake: View, real: View) -> Losses:
    """Losses of the authors' code, with loops."""
    f_q, f_p = fake.features, real.features
    assert f_q is not None
    assert f_p is not None
    mmds = []
    for sigma in objective.bandwidths:
        k_qq, k_qp, k_pp = (plain_kernel(a, b, sigma**2) for a, b in ((f_q, f_q), (f_q, f_p), (f_p, f_p)))
        mmds.append(k_qq.mean() - 2 * k_qp.mean() + k_pp.mean())
    generator = (sum(mmds) / (1 if objective.kernel_reduction == "sum" else len(mmds))) ** 0.5
    if objective.feasible_set_reduction:
        differences = [sum(f_p[:, k]) / len(f_p) - sum(f_q[:, k]) / len(f_q) for k in range(f_q.shape[1])]
        violations = [torch.relu(-difference) for difference in differences]
        generator = generator - objective.feasible_set_weight * sum(violations) / len(violations)
    penalty = torch.zeros(())
    if objective.autoencoder:
        for view in (real, fake):
            assert view.reconstruction is not None
            pairs = zip(view.samples.ravel(), view.reconstruction.ravel(), strict=True)
            penalty = penalty + sum((a - b) ** 2 for a, b in pairs) / view.samples.numel()
    return Losses(-(generator - objective.autoencoder_weight * penalty), generator, {})


MMD_GAN_SWITCHES: list[dict[str, Any]] = [
    {},
    {"bandwidths": [0.5]},
    {"kernel_reduction": "mean"},
    {"feasible_set_reduction": False},
    {"feasible_set_weight": 1.5},
    {"autoencoder": False},
    {"autoencoder_weight": 3.0},
    {"feasible_set_reduction": False, "autoencoder": False},
]
MMD_GAN_TRAINING: list[dict[str, Any]] = [
    {"weight_clamp": None},
    {"critic_iterations": 3},
    {"boosted_critic_iterations": 50},
    {"boosted_steps": 30},
    {"boost_every": 100},
    {"kernel": "distance"},
    {"kernel": "rational_quadratic", "alphas": [0.5]},
]


@pytest.mark.parametrize("fields", MMD_GAN_SWITCHES, ids=str)
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7)])
def test_mmd_gan_equals_a_plain_implementation(fields: dict[str, Any], n: int, m: int) -> None:
    """Of the two dimensions one violates the feasible set and one does not."""
    objective = mmd_gan(**fields)
    fake, real = encoded(n, 0, (2.0, -2.0)), encoded(m, 1, (0.0, 0.0))
    inputs = [tensor for view in (fake, real) for tensor in vars(view).values() if tensor is not None]
    assert len(inputs) == 6
    compare(objective.losses(real, fake), plain_mmd_gan(objective, fake, real), inputs)


def test_every_switch_of_mmd_gan_was_tried() -> None:
    tried = {key for fields in MMD_GAN_SWITCHES + MMD_GAN_TRAINING for key in fields}
    assert tried == set(MmdGan.model_fields) - {"name", "critic_dim"}


@pytest.mark.parametrize("fields", MMD_GAN_SWITCHES[1:] + MMD_GAN_TRAINING, ids=str)
def test_every_switch_of_mmd_gan_does_something(fields: dict[str, Any]) -> None:
    real, fake = encoded(5, 0, (0.0, 0.0)), encoded(5, 1, (1.0, 1.0))
    answers = []
    for objective in (mmd_gan(), mmd_gan(**fields)):
        losses = objective.losses(real, fake)
        assert losses.critic is not None
        schedule = [objective.critic_steps(step) for step in (0, 27, 100)]
        answers.append((losses.critic.item(), losses.generator.item(), objective.critic_clamp, schedule))
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("generated", "data", "generator"),
    [([0, 1, 2], [0, 1, 3], Fraction(1, 3)), ([0, 1, 3], [0, 1, 2], Fraction(1, 3) - 16 * Fraction(1, 3))],
    ids=["feasible", "infeasible"],
)
def test_mmd_gan_by_hand_on_three_points(generated: list[int], data: list[int], generator: Fraction) -> None:
    """σ² = 1/(2 ln 2) makes √MMD² = √(1/9), see GRAM's example. The means are 1 and 4/3: generated above data by 1/3
    costs 16/3. Data are reconstructed with an error of 1/2 each, generated samples with 0, 0 and 1.
    """
    objective = mmd_gan(critic_dim=1, bandwidths=[math.sqrt(1 / (2 * math.log(2)))])
    y, x = (torch.tensor(values, dtype=torch.float64).unsqueeze(1) for values in (generated, data))
    off = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    losses = objective.losses(View(x, x, x + 0.5), View(y, y, y + off))
    assert losses.critic is not None
    assert losses.generator.item() == pytest.approx(float(generator), abs=1e-12)
    penalty = 8 * Fraction(1, 4) + 8 * Fraction(1, 3)
    assert losses.critic.item() == pytest.approx(float(penalty - generator), abs=1e-12)
    one_sided = (generator - Fraction(1, 3)) / 16
    expected = {"mmd2": Fraction(1, 9), "one_sided": one_sided}
    expected |= {"autoencoder_real": Fraction(1, 4), "autoencoder_fake": Fraction(1, 3)}
    assert {key: value.item() for key, value in losses.traces.items()} == pytest.approx(
        {key: float(value) for key, value in expected.items()}, abs=1e-12
    )


def test_mmd_gan_wants_a_decoder_only_for_the_penalty() -> None:
    """The decoder sees the features themselves, so an offset of all of them matters to it alone."""
    assert mmd_gan().critic() == CriticSpec(2, decoder=True)
    assert mmd_gan(autoencoder=False).critic() == CriticSpec(2, translation_invariant=True)


def test_mmd_gan_trains_its_critic_as_often_as_the_authors_code() -> None:
    steps = [0, 1, 24, 25, 26, 499, 500, 501, 1000]
    assert [mmd_gan().critic_steps(step) for step in steps] == [100, 100, 100, 5, 5, 5, 100, 5, 100]
    plain = mmd_gan(boosted_steps=0, boost_every=None)
    assert [plain.critic_steps(step) for step in steps] == [5] * len(steps)


def test_julia_gram_s_mmd_gan_on_the_ring_is_a_configuration(ring_config: dict[str, Any]) -> None:
    """Five critic steps before every generator step, without a boost; Adam, and a clamp of 0.1."""
    settings = {
        "objective": {
            "name": "mmd_gan",
            "critic_dim": 10,
            "bandwidths": [1.0],
            "weight_clamp": 0.1,
            "critic_iterations": 5,
            "boosted_steps": 0,
            "boost_every": None,
        },
        "optimizer": {"name": "adam", "learning_rate": 5e-5},
    }
    config = TrialConfig.model_validate(ring_config | settings)
    assert [config.objective.critic_steps(step) for step in (0, 24, 25, 500)] == [5] * 4
    trained = replicate(config)
    trained.advance(2)
    assert trained.diverged == [None]
    assert all(p.abs().max() < 0.1 + 1e-3 for p in trained.network("critic", 0).parameters())


class CountingMmdGan(MmdGan):
    """Counts its evaluations: one per critic step and one per generator step."""

    calls: ClassVar[list[int]] = []

    def losses(self, real: View, fake: View) -> Losses:
        self.calls.append(len(real.samples))
        return super().losses(real, fake)


def test_training_follows_the_schedule(ring_config: dict[str, Any]) -> None:
    objective = CountingMmdGan(
        critic_dim=2, critic_iterations=2, boosted_critic_iterations=4, boosted_steps=2, boost_every=3
    )
    trained = replicate(TrialConfig.model_validate(ring_config).model_copy(update={"objective": objective}))
    calls = []
    for _ in range(8):
        objective.calls.clear()
        trained.advance(1)
        calls.append(len(objective.calls) - 1)
    assert trained.diverged == [None]
    assert calls == [4, 4, 2, 4, 2, 2, 4, 2]


@pytest.mark.parametrize("network", ["mlp", "dcgan", "full_conv"])
@pytest.mark.parametrize("bound", [0.01, None])
def test_only_the_encoder_is_clamped(network: str, bound: float | None, fitting: Fitting) -> None:
    """Every parameter of it, BatchNorm's too, as in the authors' code. The steps are too short to move a weight."""
    config = fitting("mmd_gan", network)
    assert config is not None
    frozen = config.optimizer.model_copy(update={"learning_rate": 1e-30})
    objective = config.objective.model_copy(update={"weight_clamp": bound})
    trained = replicate(config.model_copy(update={"optimizer": frozen, "objective": objective}))
    networks = {label: stack.networks[0] for label, stack in trained.stacks.items()}
    before = copy.deepcopy({label: dict(n.named_parameters()) for label, n in networks.items()})
    trained.advance(1)
    assert trained.diverged == [None]
    assert before.keys() == {"generator", "critic", "decoder"}
    for label, parameters in before.items():
        clamp = bound if label == "critic" and bound else math.inf
        assert any((p.abs() > 0.01).any() for p in parameters.values()), "nothing to clamp"
        for key, parameter in networks[label].named_parameters():
            torch.testing.assert_close(parameter, parameters[key].clamp(-clamp, clamp), atol=1e-20, rtol=0)


def test_mmd_of_clamped_features_keeps_its_digits() -> None:
    """Witness: in float32 the kernels of features within 1e-3 of each other are all 1 to the last digit or two."""
    fake, real = points(100, 4) * 1e-3, points(100, 4, seed=1) * 1e-3 + 5e-4
    objective = mmd_gan(critic_dim=4, autoencoder=False)
    exact = objective.losses(features(real), features(fake)).traces["mmd2"].item()
    single = objective.losses(features(real.float()), features(fake.float()))
    assert single.generator.dtype == torch.float32
    assert single.traces["mmd2"].item() == pytest.approx(exact, rel=1e-3)
    k_qq, k_qp, k_pp = (
        torch.stack([torch.exp(-torch.cdist(a, b).square() / (2 * s**2)) for s in objective.bandwidths])
        for a, b in ((fake.float(), fake.float()), (fake.float(), real.float()), (real.float(), real.float()))
    )
    naive = k_qq.mean(dim=(1, 2)) - 2 * k_qp.mean(dim=(1, 2)) + k_pp.mean(dim=(1, 2))
    assert abs(naive.sum().item() - exact) > 0.02 * exact


# Every registered objective


def views(objective: Objective, n: int, seed: int) -> View:
    """A random minibatch such as the critic that the objective wants would make it."""
    spec = objective.critic()
    samples = points(n, 2, seed=seed)
    if spec is None:
        return View(samples)
    projected = points(n, spec.output_dim, seed=seed + 100)
    return View(samples, projected, points(n, 2, seed=seed + 200) if spec.decoder else None)


def some_critic(objective: Objective) -> Callable[[Tensor], Tensor]:
    """A smooth function R² → R^K."""
    spec = objective.critic()
    weights = points(2, spec.output_dim if spec else 1, seed=7)
    return lambda x: (x @ weights).sin() + (x @ weights.flip(0)) / 3


def surroundings(objective: Objective, n: int, *seeds: int, order: Tensor | None = None) -> Context:
    """What a step offers beside the views: of one replicate without a leading dimension, or of one per seed.

    `order`: what belongs to a sample goes with it.
    """
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def collected(parts: list[Tensor]) -> Tensor:
        whole = parts[0] if len(parts) == 1 else torch.stack(parts)
        return whole if order is None else whole[..., order, :]

    def uniform(*shape: int) -> Tensor:
        return collected([torch.rand(shape, generator=rng, dtype=torch.float64) for rng in streams])

    def generated() -> View:
        return joined([views(objective, n, seed + 50) for seed in seeds], collected)

    noise = collected([points(n, 3, seed=seed) for seed in seeds])
    state = {name: noise.new_full((len(seeds),) if len(seeds) > 1 else (), v) for name, v in objective.state.items()}
    turned = {
        "encoder": points(2, 3, seed=11),
        "code_critic": points(3, 1, seed=12),
        "generator": points(3, 2, seed=13),
    }
    more = {role: lambda x, w=w: (x @ w).sin() for role, w in turned.items()}
    return Context({"critic": some_critic(objective), **more}, uniform, generated, noise, state)


def losses_of(objective: Objective, real: View, fake: View, context: Context) -> Losses:
    return losses_function(objective)(real, fake, context)


def permuted(view: View, order: Tensor) -> View:
    return View(*(None if tensor is None else tensor[order] for tensor in vars(view).values()))


@pytest.mark.parametrize("name", NAMES)
def test_losses_do_not_depend_on_the_order_of_samples(name: str, small: Callable[..., dict[str, Any]]) -> None:
    objective = classes(Objective)[name].model_validate(small(Objective, name))
    real, fake = views(objective, 7, seed=0), views(objective, 7, seed=1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    assert order.tolist() != sorted(order.tolist())
    before = losses_of(objective, real, fake, surroundings(objective, 7, 3))
    moved = surroundings(objective, 7, 3, order=order)
    after = losses_of(objective, permuted(real, order), permuted(fake, order), moved)
    torch.testing.assert_close(before.generator, after.generator, atol=1e-12, rtol=1e-10)
    assert (before.critic is None) == (objective.critic() is None)
    torch.testing.assert_close(before.critic, after.critic, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(dict(before.traces), dict(after.traces), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_traces_are_one_value_per_replicate(name: str, small: Callable[..., dict[str, Any]]) -> None:
    """Each that of its own samples, as if the others were not there."""
    objective = classes(Objective)[name].model_validate(small(Objective, name))
    seeds = (0, 5, 9)
    pairs = [(views(objective, 4, seed=seed), views(objective, 4, seed=seed + 1)) for seed in seeds]
    sides = [stacked(side) for side in zip(*pairs, strict=True)]
    together = losses_of(objective, sides[0], sides[1], surroundings(objective, 4, *seeds))
    assert together.traces, "a run without traces cannot be understood"
    for i, (seed, pair) in enumerate(zip(seeds, pairs, strict=True)):
        alone = losses_of(objective, *pair, surroundings(objective, 4, seed))
        for values, value in zip(flat(together), flat(alone), strict=True):
            assert value.shape == ()
            torch.testing.assert_close(values[i], value)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_for_one_player_has_the_loss_of_a_step_for_both(name: str, small: Callable[..., dict[str, Any]]) -> None:
    objective = classes(Objective)[name].model_validate(small(Objective, name))
    real, fake = views(objective, 5, seed=0), views(objective, 5, seed=1)
    both = surroundings(objective, 5, 3)
    whole = losses_of(objective, real, fake, both)
    for_critic, for_generator = (
        losses_of(objective, real, fake, replace(surroundings(objective, 5, 3), for_critic=c, for_generator=not c))
        for c in (True, False)
    )
    torch.testing.assert_close(for_critic.critic, whole.critic)
    torch.testing.assert_close(for_generator.generator, whole.generator)


def stacked(sides: Iterable[View]) -> View:
    """The views of several replicates as one."""
    return joined(sides, torch.stack)


def joined(sides: Iterable[View], join: Callable[[list[Tensor]], Tensor]) -> View:
    """One view whose tensors are those of several, joined."""
    fields = zip(*((side.samples, side.features, side.reconstruction) for side in sides), strict=True)
    return View(*(None if field[0] is None else join(list(field)) for field in fields))


def flat(losses: Losses) -> list[Tensor]:
    found = (losses.critic, losses.generator, *losses.traces.values(), *losses.state.values(), *losses.others.values())
    return [tensor for tensor in found if tensor is not None]


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_has_a_network(name: str, fitting: Fitting) -> None:
    assert fitting(name) is not None


@pytest.mark.parametrize(("objective", "network"), PAIRS)
def test_three_steps_are_finite_and_deterministic(objective: str, network: str, fitting: Fitting) -> None:
    if (config := fitting(objective, network)) is None:
        pytest.skip(f"{network} does not serve {objective}")
    first, second = (replicate(config) for _ in range(2))
    (traces,) = first.advance(3)
    assert first.diverged == [None]
    assert {"loss/generator"} | ({"loss/critic"} if config.objective.critic() else set()) <= set(traces)
    assert all(math.isfinite(value) for value in traces.values())
    assert second.advance(3) == [traces]
    noise = config.network.noise(3, stream(0, "test"))
    assert torch.equal(first.network("generator", 0)(noise), second.network("generator", 0)(noise))


@pytest.mark.parametrize(("objective", "network"), PAIRS)
def test_gradients_do_not_leak(objective: str, network: str, fitting: Fitting) -> None:
    """θ gets the gradient of the critic's loss alone and γ that of the generator's, as if each were trained apart."""
    if (config := fitting(objective, network)) is None:
        pytest.skip(f"{network} does not serve {objective}")
    if (objective, network) == ("mmd_gan", "mnist_conv"):  # clamped, its features differ by less than float32 tells
        unclamped = config.objective.model_copy(update={"weight_clamp": None})
        config = config.model_copy(update={"objective": unclamped})
    trained = replicate(config)
    before = {label: copy.deepcopy(stack.networks[0]) for label, stack in trained.stacks.items()}
    trained.advance(1)
    after = {label: stack.networks[0] for label, stack in trained.stacks.items()}
    exact, plain = (PlainTraining(config, before, after, dtype).step() for dtype in (torch.float64, torch.float32))
    for label, stack in trained.stacks.items():
        # relative to the network's largest gradient: what moves all features alike has no gradient but rounding
        scale = max(gradient.abs().max().item() for gradient in exact[label])
        rounding = distance(plain[label], exact[label])
        assert scale > 0, f"{label} learns nothing"
        assert rounding < 0.01 * scale, "float32 is too coarse here to show a leak"
        mine = per_parameter(stack.gradient[0], stack.networks[0])
        assert distance(mine, exact[label]) <= 10 * rounding + 1e-4 * scale  # of a leak: some hundredths at least


def per_parameter(row: Tensor, network: nn.Module) -> list[Tensor]:
    """A row of the stack's matrix, [P], cut into the shapes of the parameters; the rest is padding."""
    shapes = [parameter.shape for parameter in network.parameters()]
    parts = row[: sum(map(math.prod, shapes))].split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def distance(gradients: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """The largest difference of any entry."""
    return max((g.double() - e).abs().max().item() for g, e in zip(gradients, exact, strict=True))


def replicate(config: TrialConfig) -> Replicates:
    return Replicates(config, [config.training.seed], config.data.train(Path("unused")), torch.device("cpu"))


class PlainTraining:
    """One generator step as a textbook writes it: detached samples for θ, frozen critic for γ, `backward`."""

    def __init__(
        self, config: TrialConfig, networks: dict[str, nn.Module], after: dict[str, nn.Module], dtype: torch.dtype
    ) -> None:
        self.config, self.dtype = config, dtype
        self.networks = networks = {label: copy.deepcopy(network).to(dtype) for label, network in networks.items()}
        self.players = config.objective.players(tuple(networks))
        self.theta = self.parameters("critic")
        self.moved = [p for role in self.players.get("critic", ()) for p in after[role].parameters()]
        purposes = ("batches", "noise", "critic")
        self.batches, self.noise, self.uniform = (stream(config.training.seed, purpose) for purpose in purposes)

    def step(self) -> dict[str, list[Tensor]]:
        """The gradients of each network's parameters, the critic's those of its last step."""
        objective, generator = self.config.objective, self.networks["generator"]
        if objective.joint:
            noise, real = self.draw(), self.real()
            if self.theta:
                self.backward_critic(real, noise)
        else:
            optimizer = self.config.optimizer.for_critic(self.theta) if self.theta else None
            for _ in range(objective.critic_steps(0) if optimizer else 0):
                if (bound := objective.critic_clamp) is not None:
                    for parameter in self.networks["critic"].parameters():
                        parameter.data = parameter.data.clamp(-bound, bound)
                assert optimizer is not None
                optimizer.zero_grad()
                noise, real = self.draw(), self.real()
                self.backward_critic(real, noise)
                optimizer.step()
            # Adam's first step is the gradient's sign, so where a gradient is zero, rounding decides where θ goes.
            for parameter, moved in zip(self.theta, self.moved, strict=True):
                parameter.data = moved.detach().to(self.dtype)
            noise, real = self.draw(), self.real()
        found = {role: [p.grad for p in self.networks[role].parameters()] for role in self.players.get("critic", ())}
        for parameter in self.theta:
            parameter.requires_grad_(False)
        context = self.context(noise, for_critic=objective.joint, for_generator=True)
        losses = losses_of(objective, self.view(real), self.view(generator(noise)), context)
        assert losses.generator is not None
        for player, loss in {"generator": losses.generator, **losses.others}.items():
            (role,) = self.players[player]
            found[role] = list(torch.autograd.grad(loss, self.parameters(player), retain_graph=True))
        return {role: [g for g in gradients if g is not None] for role, gradients in found.items()}

    def parameters(self, player: str) -> list[nn.Parameter]:
        return [p for role in self.players.get(player, ()) for p in self.networks[role].parameters()]

    def backward_critic(self, real: Tensor, noise: Tensor) -> None:
        fake = self.networks["generator"](noise).detach()
        context = self.context(noise, for_critic=True, for_generator=self.config.objective.joint)
        loss = losses_of(self.config.objective, self.view(real), self.view(fake), context).critic
        assert loss is not None
        loss.backward()

    def context(self, noise: Tensor, *, for_critic: bool, for_generator: bool) -> Context:
        objective, shape = self.config.objective, self.config.data.shape

        def at(role: str, x: Tensor) -> Tensor:
            return self.networks[role](x.unflatten(1, shape) if role in ("critic", "encoder") else x).flatten(1)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=self.uniform).to(self.dtype)

        def generated() -> View:
            samples = self.networks["generator"](self.draw())
            return self.view(samples if for_generator else samples.detach())

        state = {name: torch.tensor(value, dtype=self.dtype) for name, value in objective.state.items()}
        networks = {role: partial(at, role) for role in self.networks}
        return Context(networks, uniform, generated, noise, state, for_critic, for_generator)

    def real(self) -> Tensor:
        train = self.config.data.train(Path("unused"))
        index = torch.randint(len(train), (self.config.training.batch_size,), generator=self.batches)
        return to_float(train[index]).to(self.dtype)

    def draw(self) -> Tensor:
        return self.config.network.noise(self.config.training.batch_size, self.noise).to(self.dtype)

    def view(self, samples: Tensor) -> View:
        if "critic" not in self.networks:
            return View(samples.flatten(1))
        projected = self.networks["critic"](samples)
        decoded = self.networks["decoder"](projected).flatten(1) if "decoder" in self.networks else None
        return View(samples.flatten(1), projected, decoded)
