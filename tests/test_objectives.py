"""Objectives against independent plain implementations, by hand on three points, and in training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gramtune.components import Losses, Network, Objective, View
from gramtune.objectives.gan import Gan
from gramtune.objectives.gram import Gram
from gramtune.objectives.mmd_net import MmdNet
from gramtune.pixels import to_float
from gramtune.registry import classes
from gramtune.training.config import TrialConfig
from gramtune.training.replicate import Replicate
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
    ours, theirs = objective.losses(features(real), features(fake)), reference(fake, real)
    for mine, other in ((ours.critic, theirs.critic), (ours.generator, theirs.generator)):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.shape == ()
            torch.testing.assert_close(mine, other, atol=1e-8, rtol=1e-8)
            torch.testing.assert_close(
                gradients(mine, [fake, real]), gradients(other, [fake, real]), atol=1e-8, rtol=1e-8
            )


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
    mmd = sum(mmds) / len(mmds)
    return Losses(-(divergence + objective.positivity * positive), mmd**0.5 if objective.sqrt_mmd else mmd, {})


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
    {"positivity_reduction": "mean"},
    {"ratio_reduction": "sum"},
    {"sqrt_mmd": False},
    {"bandwidth_unit": "variance", "divergence": "mean_ratio", "ratio_reduction": "sum", "sqrt_mmd": False},
]


@pytest.mark.parametrize("fields", SWITCHES, ids=str)
@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 8)])
def test_gram_equals_a_plain_implementation(fields: dict[str, Any], n: int, m: int) -> None:
    objective = gram(**fields)
    check_equal(objective, lambda q, p: plain_gram(objective, q, p), points(n, 2) * 3, points(m, 2, seed=1) * 3 + 1)


def test_every_switch_of_gram_was_tried() -> None:
    tried = {key for fields in SWITCHES for key in fields}
    assert tried == set(Gram.model_fields) - {"name", "critic_dim"}


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
    assert losses.critic.item() == pytest.approx(-float(divergence + sum(ratio)), abs=1e-12)
    assert losses.generator.item() == pytest.approx(float(mmd), abs=1e-12)
    assert losses.traces["mmd2"].item() == pytest.approx(float(mmd), abs=1e-12)
    assert losses.traces["pearson_divergence"].item() == pytest.approx(float(divergence), abs=1e-12)
    assert losses.traces["ratio_mean"].item() == pytest.approx(float(sum(ratio) / 3), abs=1e-12)


@pytest.mark.parametrize("fields", [{}, {"sqrt_mmd": False, "divergence": "mean_ratio"}], ids=str)
def test_gram_gradients_equal_finite_differences(fields: dict[str, Any]) -> None:
    objective = gram(ridge=1e-2, **fields)

    def losses(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        both = objective.losses(features(real), features(fake))
        assert both.critic is not None
        return both.critic, both.generator

    assert torch.autograd.gradcheck(losses, (points(4, 2).requires_grad_(), points(5, 2, seed=1).requires_grad_()))


@pytest.mark.parametrize("objective", [gram(), MmdNet()], ids=lambda objective: objective.name)
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


def test_mmd_net_compares_images_pixel_by_pixel() -> None:
    fake, real = points(4, 1, 2, 2), points(4, 1, 2, 2, seed=1)
    images = MmdNet().losses(View(real), View(fake)).generator
    assert images == MmdNet().losses(View(real.flatten(1)), View(fake.flatten(1))).generator


# Every registered objective


def views(objective: Objective, n: int, seed: int) -> View:
    """A random minibatch such as the critic that the objective wants would make it."""
    spec = objective.critic()
    samples = points(n, 2, seed=seed)
    if spec is None:
        return View(samples)
    projected = points(n, spec.output_dim, seed=seed + 100)
    return View(samples, projected, points(n, 2, seed=seed + 200) if spec.decoder else None)


def permuted(view: View) -> View:
    order = torch.randperm(len(view.samples), generator=torch.Generator().manual_seed(0))
    assert order.tolist() != sorted(order.tolist())
    return View(*(None if tensor is None else tensor[order] for tensor in view))


@pytest.mark.parametrize("name", NAMES)
def test_losses_do_not_depend_on_the_order_of_samples(name: str, small: Callable[..., dict[str, Any]]) -> None:
    objective = classes(Objective)[name].model_validate(small(Objective, name))
    real, fake = views(objective, 7, seed=0), views(objective, 7, seed=1)
    before, after = objective.losses(real, fake), objective.losses(permuted(real), permuted(fake))
    torch.testing.assert_close(before.generator, after.generator, atol=1e-12, rtol=1e-10)
    assert (before.critic is None) == (objective.critic() is None)
    torch.testing.assert_close(before.critic, after.critic, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(dict(before.traces), dict(after.traces), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_traces_are_scalars(name: str, small: Callable[..., dict[str, Any]]) -> None:
    objective = classes(Objective)[name].model_validate(small(Objective, name))
    losses = objective.losses(views(objective, 4, seed=0), views(objective, 4, seed=1))
    assert losses.traces, "a run without traces cannot be understood"
    assert {value.shape for value in (losses.generator, *losses.traces.values())} == {()}


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_has_a_network(name: str, fitting: Fitting) -> None:
    assert fitting(name) is not None


@pytest.mark.parametrize(("objective", "network"), PAIRS)
def test_three_steps_are_finite_and_deterministic(objective: str, network: str, fitting: Fitting) -> None:
    if (config := fitting(objective, network)) is None:
        pytest.skip(f"{network} does not serve {objective}")
    first, second = (replicate(config) for _ in range(2))
    traces = first.advance(3)
    assert first.diverged is None
    assert {"loss/generator"} | ({"loss/critic"} if config.objective.critic() else set()) <= set(traces)
    assert all(math.isfinite(value) for value in traces.values())
    assert second.advance(3) == traces
    noise = config.network.noise(3, stream(0, "test"))
    assert torch.equal(first.generator(noise), second.generator(noise))


@pytest.mark.parametrize(("objective", "network"), PAIRS)
def test_gradients_do_not_leak(objective: str, network: str, fitting: Fitting) -> None:
    """θ gets the gradient of the critic's loss alone and γ that of the generator's, as if each were trained apart."""
    if (config := fitting(objective, network)) is None:
        pytest.skip(f"{network} does not serve {objective}")
    trained = replicate(config)
    plain = PlainTraining(config, copy.deepcopy(trained._networks))
    expected = plain.step()
    trained.advance(1)
    for label, network_ in trained._networks.items():
        got = [parameter.grad for parameter in network_.parameters()]
        for mine, other in zip(got, expected[label], strict=True):
            assert mine is not None
            torch.testing.assert_close(mine, other, atol=1e-5 * other.abs().max().item() + 1e-8, rtol=1e-4)
        assert any(gradient.any() for gradient in expected[label]), f"{label} learns nothing"


def replicate(config: TrialConfig) -> Replicate:
    return Replicate(config, config.training.seed, config.data.train(Path("unused")), torch.device("cpu"))


class PlainTraining:
    """One generator step as a textbook writes it: detached samples for θ, frozen critic for γ, `backward`."""

    def __init__(self, config: TrialConfig, networks: dict[str, nn.Module]) -> None:
        self.config, self.networks = config, networks
        self.theta = [p for label, n in networks.items() if label != "generator" for p in n.parameters()]
        self.batches, self.noise = stream(config.training.seed, "batches"), stream(config.training.seed, "noise")

    def step(self) -> dict[str, list[Tensor]]:
        """The gradients of each network's parameters, the critic's those of its last step."""
        objective, generator = self.config.objective, self.networks["generator"]
        if objective.joint:
            real, noise = self.real(), self.draw()
            if self.theta:
                self.backward_critic(real, noise)
        else:
            optimizer = self.config.optimizer.for_critic(self.theta)
            for _ in range(objective.critic_steps(0)):
                if (bound := objective.critic_clamp) is not None:
                    for parameter in self.networks["critic"].parameters():
                        parameter.data = parameter.data.clamp(-bound, bound)
                optimizer.zero_grad()
                self.backward_critic(self.real(), self.draw())
                optimizer.step()
            real, noise = self.real(), self.draw()
        kept = [p.grad for p in self.theta]
        for parameter in self.theta:
            parameter.requires_grad_(False)
        objective.losses(self.view(real), self.view(generator(noise))).generator.backward()
        for parameter, gradient in zip(self.theta, kept, strict=True):
            assert parameter.grad is gradient
        return {label: [p.grad for p in n.parameters() if p.grad is not None] for label, n in self.networks.items()}

    def backward_critic(self, real: Tensor, noise: Tensor) -> None:
        fake = self.networks["generator"](noise).detach()
        loss = self.config.objective.losses(self.view(real), self.view(fake)).critic
        assert loss is not None
        loss.backward()

    def real(self) -> Tensor:
        train = self.config.data.train(Path("unused"))
        index = torch.randint(len(train), (self.config.training.batch_size,), generator=self.batches)
        return to_float(train[index])

    def draw(self) -> Tensor:
        return self.config.network.noise(self.config.training.batch_size, self.noise)

    def view(self, samples: Tensor) -> View:
        if "critic" not in self.networks:
            return View(samples)
        projected = self.networks["critic"](samples)
        return View(samples, projected, self.networks["decoder"](projected) if "decoder" in self.networks else None)
