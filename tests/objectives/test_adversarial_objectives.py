"""The adversarial objectives against plain float64 implementations, including gradients of penalties."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from gramtune.components import Context, Losses, Objective, View, losses_function
from gramtune.objectives.cramer_gan import CramerGan
from gramtune.objectives.f_gan import DIVERGENCES, FGan
from gramtune.objectives.gan import Gan
from gramtune.objectives.gcmmd import Gcmmd
from gramtune.objectives.mmd_gan import MmdGan
from gramtune.objectives.mmd_gan_gp import MmdGanGp
from gramtune.objectives.mmd_net import MmdNet
from gramtune.objectives.ratio_matching import RatioMatching
from gramtune.objectives.sinkhorn import Sinkhorn
from gramtune.objectives.smmd_gan import SmmdGan
from gramtune.objectives.sobolev_gan import SobolevGan
from gramtune.objectives.swgan import Swgan
from gramtune.objectives.wgan import Wgan
from gramtune.objectives.wgan_gp import WganGp
from gramtune.stats import kernels
from gramtune.stats.gradients import gradient, jacobian, norm, unit_norm_penalty
from gramtune.stats.rounding import sigmoid, softplus
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks
from gramtune.training.trainer import Trainer

N, D, H = 5, 2, 3
ROWS = range(N)


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Scene:
    """A small critic and a linear generator in float64, minibatches, and the draws that a step would see."""

    def __init__(self, objective: Objective) -> None:
        spec = objective.critic()
        self.objective, k = objective, spec.output_dim if spec else 1
        torch.manual_seed(1)
        self.critic = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, k)).double()
        self.generator = nn.Linear(H, D).double()
        self.x = points(N, D, seed=2) + 0.5
        self.y = self.generator(points(N, H, seed=3))
        self.other = self.generator(points(N, H, seed=4))
        self.share = torch.rand(N, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        self.mixed = (self.share * self.x + (1 - self.share) * self.y).detach()
        self.state = {name: torch.tensor(0.7 + value) for name, value in objective.state.items()}

    def losses(self) -> Losses:
        context = Context(
            {"critic": self.critic},
            lambda *shape: self.share.expand(*shape),
            lambda: View(self.other, self.critic(self.other)),
            points(N, H, seed=3),
            self.state,
        )
        has_critic = self.objective.critic() is not None
        real, fake = (View(s, self.critic(s) if has_critic else None) for s in (self.x, self.y))
        return losses_function(self.objective)(real, fake, context)

    def gradients(self, loss: Tensor) -> list[Tensor]:
        inputs = [*self.critic.parameters(), *self.generator.parameters()]
        return list(torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True))

    def slope(self, function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
        """∇ of a scalar function at one point, to be differentiated again."""
        point = point.detach().clone().requires_grad_()
        return torch.autograd.grad(function(point), point, create_graph=True)[0]


Plain = Callable[[Any, Scene], tuple[Tensor | None, Tensor]]


def mean(values: Iterator[Tensor] | list[Tensor]) -> Tensor:
    whole = list(values)
    return sum(whole[1:], whole[0]) / len(whole)


def plain_gan(o: Gan, s: Scene) -> tuple[Tensor, Tensor]:
    real, fake = s.critic(s.x), s.critic(s.y)
    if o.loss == "hinge":
        return mean([torch.clamp(1 - v, min=0)[0] for v in real]) + mean(
            [torch.clamp(1 + v, min=0)[0] for v in fake]
        ), (-fake.mean())
    bce = nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return bce(real, ones) + bce(fake, zeros), bce(fake, ones)


def plain_wgan(o: Wgan, s: Scene) -> tuple[Tensor, Tensor]:
    return s.critic(s.y).mean() - s.critic(s.x).mean(), -s.critic(s.y).mean()


def plain_wgan_gp(o: WganGp, s: Scene) -> tuple[Tensor, Tensor]:
    slopes = [s.slope(lambda p: s.critic(p)[0], p) for p in s.mixed]
    penalty = mean([((g**2).sum() ** 0.5 - 1) ** 2 for g in slopes])
    critic, generator = plain_wgan(Wgan(), s)
    return critic + o.gradient_penalty * penalty, generator


F_AND_SLOPE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kl": (lambda u: u * u.log(), lambda v: v),
    "reverse_kl": (lambda u: -u.log(), lambda v: -torch.exp(-v)),
    "pearson": (lambda u: (u - 1) ** 2, lambda v: v),
    "squared_hellinger": (lambda u: (u.sqrt() - 1) ** 2, lambda v: 1 - torch.exp(-v)),
    "jensen_shannon": (
        lambda u: u * u.log() - (u + 1) * torch.log((1 + u) / 2),
        lambda v: math.log(2) - torch.log(1 + torch.exp(-v)),
    ),
    "gan": (lambda u: u * u.log() - (u + 1) * torch.log(u + 1), lambda v: -torch.log(1 + torch.exp(-v))),
    "total_variation": (lambda u: (u - 1).abs() / 2, lambda v: v.tanh() / 2),
}
"""f and g_f as Table 1 and Table 6 of the paper have them."""
CONJUGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "kl": lambda t: torch.exp(t - 1),
    "reverse_kl": lambda t: -1 - torch.log(-t),
    "pearson": lambda t: t**2 / 4 + t,
    "squared_hellinger": lambda t: t / (1 - t),
    "jensen_shannon": lambda t: -torch.log(2 - torch.exp(t)),
    "gan": lambda t: -torch.log(1 - torch.exp(t)),
    "total_variation": lambda t: t,
}


def plain_f_gan(o: FGan, s: Scene) -> tuple[Tensor, Tensor]:
    f, activation = F_AND_SLOPE[o.divergence]
    if o.parametrisation == "output":
        on_real, on_fake = (activation(s.critic(side)) for side in (s.x, s.y))
    else:
        ratios = [torch.log(1 + torch.exp(s.critic(side))) for side in (s.x, s.y)]
        on_real, on_fake = (torch.autograd.grad(f(r).sum(), r, create_graph=True)[0] for r in ratios)
    of_fake = CONJUGATES[o.divergence](on_fake).mean()
    generator = -of_fake if o.generator_loss == "minimax" else -on_fake.mean()
    return -(on_real.mean() - of_fake), generator


def plain_ratio_matching(o: RatioMatching, s: Scene) -> tuple[Tensor, Tensor]:
    on_real, on_fake = (torch.log(1 + torch.exp(s.critic(side))) for side in (s.x, s.y))
    critic = (on_fake**2).mean() / 2 - on_real.mean()
    return critic, -(on_fake**2).mean() / 2


def distance(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).sum() ** 0.5


def plain_cramer(o: CramerGan, s: Scene) -> tuple[Tensor, Tensor]:
    h = s.critic
    hx, hy, ho = h(s.x), h(s.y), h(s.other)

    def c(a: Tensor, i: int) -> Tensor:
        return distance(a, ho[i]) - (a**2).sum() ** 0.5

    slopes = [s.slope(lambda p, i=i: c(h(p), i), s.mixed[i]) for i in ROWS]
    penalty = mean([((g**2).sum() ** 0.5 - 1) ** 2 for g in slopes])
    surrogate = mean([c(hx[i], i) - c(hy[i], i) for i in ROWS])
    energy = mean([distance(hx[i], hy[i]) + distance(hx[i], ho[i]) - distance(hy[i], ho[i]) for i in ROWS])
    return -surrogate + o.gradient_penalty * penalty, energy


def plain_kernel(o: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def k(a: Tensor, b: Tensor) -> Tensor:
        squared = ((a - b) ** 2).sum()
        if o.kernel == "gaussian":
            found = sum(torch.exp(-squared / (2 * s**2)) for s in o.bandwidths)
        elif o.kernel == "rational_quadratic":
            found = sum((1 + squared / (2 * alpha)) ** -alpha for alpha in o.alphas)
        elif o.kernel == "linear":
            found = (a * b).sum()
        else:
            apart = squared**0.5 if squared > 0 else squared * 0
            found = ((a**2).sum() ** 0.5 + (b**2).sum() ** 0.5 - apart) / 2
        return found + (a * b).sum() if getattr(o, "linear_term", False) else found

    return k


def plain_mmd2(k: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Unbiased."""
    off = [(i, j) for i, j in product(ROWS, ROWS) if i != j]
    within = [mean([k(side[i], side[j]) for i, j in off]) for side in (a, b)]
    return within[0] + within[1] - 2 * mean([k(p, q) for p, q in product(a, b)])


def plain_mmd_gan_gp(o: MmdGanGp, s: Scene) -> tuple[Tensor, Tensor]:
    k, fx, fy = plain_kernel(o), s.critic(s.x), s.critic(s.y)

    def witness(p: Tensor) -> Tensor:
        t = s.critic(p)
        return mean([k(f, t) for f in fx]) - mean([k(f, t) for f in fy])

    penalty = mean([((s.slope(witness, p) ** 2).sum() ** 0.5 - 1) ** 2 for p in s.mixed])
    squared = plain_mmd2(k, fx, fy)
    return -squared + o.gradient_penalty * penalty, squared


def squared_slopes(s: Scene, side: Tensor) -> Tensor:
    """mean ‖∇φ‖²_F."""
    dims = range(s.critic(side[0]).shape[0])
    return mean([sum((s.slope(lambda q, j=j: s.critic(q)[j], p) ** 2).sum() for j in dims) for p in side])


def plain_smmd(o: SmmdGan, s: Scene) -> tuple[Tensor, Tensor]:
    k, fx, fy = plain_kernel(o), s.critic(s.x), s.critic(s.y)
    if o.scaling == "code":
        inverse = 1 + o.gradient_weight * squared_slopes(s, s.x)
    else:
        curvature = {
            "gaussian": sum(1 / b**2 for b in o.bandwidths),
            "rational_quadratic": len(o.alphas),
            "linear": 1,
        }[o.kernel]
        inverse = o.ridge + mean([k(f, f) for f in fx]) + curvature * squared_slopes(s, s.x)
    scaled = plain_mmd2(k, fx, fy) / inverse
    return -scaled, scaled


def plain_swgan(o: Swgan, s: Scene) -> tuple[Tensor, Tensor]:
    inverse = 1 + o.gradient_weight * (squared_slopes(s, s.x) + (s.critic(s.x) ** 2).mean())
    scaled = (s.critic(s.x).mean() - s.critic(s.y).mean()) / inverse**0.5
    return -scaled, scaled


def plain_sobolev(o: SobolevGan, s: Scene) -> tuple[Tensor, Tensor]:
    omega = (squared_slopes(s, s.x) + squared_slopes(s, s.y)) / 2 - 1
    critic, generator = plain_wgan(Wgan(), s)
    return critic + 0.7 * omega + o.penalty_weight / 2 * omega**2, generator


def plain_gcmmd(o: Gcmmd, s: Scene) -> tuple[Tensor, Tensor]:
    """The supremum over the span of kernels and their derivatives at all points, as a generalised Rayleigh quotient."""

    def k(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-((s.critic(a) - s.critic(b)) ** 2).sum() / (2 * o.bandwidth**2))

    def functionals() -> list[Callable[[Callable[[Tensor], Tensor]], Tensor]]:
        """Evaluations and derivatives at the data: what the norm sees."""
        found: list[Callable[[Callable[[Tensor], Tensor]], Tensor]] = []
        for p in s.x:
            found.append(lambda f, p=p: f(p))
            for i in range(D):
                found.append(lambda f, p=p, i=i: s.slope(f, p)[i])
        return found

    def difference(f: Callable[[Tensor], Tensor]) -> Tensor:
        return mean([f(p) for p in s.x]) - mean([f(p) for p in s.y])

    basis = functionals()
    both = torch.stack(
        [torch.stack([first(lambda a, g=second: g(lambda b: k(a, b))) for second in basis]) for first in basis]
    )
    cross = torch.stack([functional(lambda a: difference(lambda b: k(a, b))) for functional in basis])
    squared_norm = difference(lambda a: difference(lambda b: k(a, b)))
    scaled, target = both / N, cross / N**0.5
    solved = torch.linalg.inv(scaled + o.ridge * torch.eye(len(scaled), dtype=torch.float64)) @ target
    squared = (squared_norm - target @ solved) / o.ridge
    return -squared, squared


CASES: list[tuple[Objective, Plain]] = [
    (Gan(), plain_gan),
    (Gan(loss="hinge"), plain_gan),
    (Wgan(), plain_wgan),
    (WganGp(), plain_wgan_gp),
    (WganGp(gradient_penalty=0.3), plain_wgan_gp),
    *((FGan(divergence=d), plain_f_gan) for d in DIVERGENCES),  # type: ignore[arg-type]
    *(
        (FGan(divergence=d, parametrisation="ratio", generator_loss="non_saturating"), plain_f_gan)  # type: ignore[arg-type]
        for d, functions in DIVERGENCES.items()
        if functions.of_ratio is not None
    ),
    (RatioMatching(), plain_ratio_matching),
    (CramerGan(critic_dim=3), plain_cramer),
    (MmdGanGp(critic_dim=2), plain_mmd_gan_gp),
    (MmdGanGp(critic_dim=2, linear_term=True, gradient_penalty=0.4), plain_mmd_gan_gp),
    (MmdGanGp(critic_dim=1, kernel="gaussian", bandwidths=(0.5, 2.0)), plain_mmd_gan_gp),
    (MmdGanGp(critic_dim=2, kernel="distance"), plain_mmd_gan_gp),
    (SmmdGan(), plain_smmd),
    (SmmdGan(critic_dim=3, scaling="theory", ridge=0.2, bandwidths=(0.5, 2.0)), plain_smmd),
    (SmmdGan(critic_dim=2, scaling="theory", kernel="rational_quadratic"), plain_smmd),
    (SmmdGan(critic_dim=2, scaling="theory", kernel="linear"), plain_smmd),
    (Swgan(), plain_swgan),
    (Swgan(gradient_weight=2.0), plain_swgan),
    (SobolevGan(), plain_sobolev),
    (Gcmmd(), plain_gcmmd),
    (Gcmmd(critic_dim=2, bandwidth=0.7, ridge=0.3), plain_gcmmd),
]


@pytest.mark.parametrize(("objective", "plain"), CASES, ids=lambda case: str(getattr(case, "name", "")))
def test_losses_and_gradients_equal_a_plain_implementation(objective: Objective, plain: Plain) -> None:
    """By all parameters of critic and generator: through a penalty the critic's gradient is a second derivative."""
    scene = Scene(objective)
    ours, (critic, generator) = scene.losses(), plain(objective, scene)
    for mine, theirs in ((ours.critic, critic), (ours.generator, generator)):
        assert mine is not None
        assert theirs is not None
        torch.testing.assert_close(mine, theirs.reshape(()), atol=1e-8, rtol=1e-8)
    theta = list(scene.critic.parameters())
    assert ours.critic is not None
    assert ours.generator is not None
    for mine, theirs, count in ((ours.critic, critic, len(theta)), (ours.generator, generator, None)):
        pairs = list(zip(scene.gradients(mine), scene.gradients(theirs), strict=True))  # type: ignore[arg-type]
        for a, b in pairs[:count] if count else pairs[len(theta) :]:
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-8)
    assert any(g.abs().max() > 1e-6 for g in scene.gradients(ours.critic)[: len(theta)])
    assert any(g.abs().max() > 1e-6 for g in scene.gradients(ours.generator)[len(theta) :])


# Closed forms


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights() -> None:
    weights = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert unit_norm_penalty(lambda p: p @ weights, points(7, 2)).item() == pytest.approx(16.0, abs=1e-12)


def test_a_critic_without_slope_has_a_finite_gradient_of_its_penalty() -> None:
    """√ at 0 has an infinite slope."""
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    penalty = unit_norm_penalty(lambda p: p @ weights, points(7, 2))
    assert penalty.item() == pytest.approx(1.0)
    assert torch.autograd.grad(penalty, weights)[0].isfinite().all()


def test_the_norm_is_over_all_entries_of_a_sample() -> None:
    found = gradient(lambda p: p.square().sum(dim=-1) / 2, points(3, 4))
    torch.testing.assert_close(norm(found), points(3, 4).norm(dim=1))


def test_jacobians_are_those_of_autograd() -> None:
    def f(p: Tensor) -> Tensor:
        return torch.stack((p[..., 0] * p[..., 1], p.sin().sum(dim=-1), p[..., 1] ** 3), dim=-1)

    expected = torch.stack([torch.autograd.functional.jacobian(f, p) for p in points(4, 2)])
    torch.testing.assert_close(jacobian(f, points(4, 2)), expected)


@pytest.mark.parametrize("function", [softplus, sigmoid])
def test_softplus_and_sigmoid_have_two_derivatives(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-30, 30, 41, dtype=torch.float64)
    theirs = nn.functional.softplus if function is softplus else torch.sigmoid
    torch.testing.assert_close(function(x), theirs(x), atol=1e-12, rtol=1e-10)
    assert torch.autograd.gradcheck(function, (x.requires_grad_(),))
    assert torch.autograd.gradgradcheck(function, (x,))


@pytest.mark.parametrize(
    "kernel",
    [kernels.Gaussian(0.7), kernels.RationalQuadratic(0.5), kernels.Linear()],
    ids=lambda kernel: type(kernel).__name__,
)
def test_a_kernel_s_diagonal_and_curvature_are_its_own(kernel: kernels.Kernel) -> None:
    a = points(3, 2).requires_grad_()
    torch.testing.assert_close(kernel.diagonal(a), kernel.gram(a, a).diagonal())
    b = points(3, 2).requires_grad_()
    (toward_b,) = torch.autograd.grad(kernel.gram(a, b).diagonal().sum(), b, create_graph=True)
    (second,) = torch.autograd.grad(toward_b[:, 0].sum(), a)
    torch.testing.assert_close(second, torch.tensor([kernel.curvature, 0.0], dtype=torch.float64).expand(3, 2))


def test_the_energy_distance_is_twice_mmd2_of_the_distance_kernel() -> None:
    a, b = points(6, 3), points(8, 3, seed=1) + 1
    energy = 2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    found = 2 * kernels.kernel_mmd2(kernels.Distance(), a, b, unbiased=False)
    assert found.item() == pytest.approx(energy.item(), rel=1e-10)


@pytest.mark.parametrize("kernel", ["gaussian", "rational_quadratic", "linear", "distance"])
def test_mmd_net_and_mmd_gan_take_any_kernel(kernel: str) -> None:
    fields = {"kernel": kernel, "bandwidths": [0.5, 2.0], "alphas": [0.2, 1.0]}
    net = MmdNet.model_validate(fields | {"sqrt_mmd": False})
    gan = MmdGan.model_validate(
        fields | {"critic_dim": 2, "autoencoder": False, "feasible_set_reduction": False, "weight_clamp": None}
    )
    x, y, k = points(N, 2), (points(N, 2, seed=1) + 1).requires_grad_(), plain_kernel(net)
    means = [mean([k(p, q) for p, q in product(a, b)]) for a, b in ((x, x), (y, y), (x, y))]
    biased = means[0] + means[1] - 2 * means[2]
    count = 2 if kernel in ("gaussian", "rational_quadratic") else 1
    (expected,) = torch.autograd.grad(biased, y)
    of_net = net.losses(View(x), View(y)).generator
    of_gan = gan.losses(View(x, x), View(y, y)).traces["mmd2"]
    assert of_net is not None
    for found, scale in ((of_net, count), (of_gan, 1)):
        torch.testing.assert_close(found * scale, biased, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(torch.autograd.grad(found, y)[0] * scale, expected, atol=1e-8, rtol=1e-8)


def test_cramer_is_twice_the_squared_difference_of_distribution_functions_in_one_dimension() -> None:
    """2·CRPS where the data are one point: 2E|X − Y| − E|Y − Y'| = 2 ∫(F − G)²."""
    y = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    pairs = torch.tensor(list(product(range(3), range(3))))
    fake, other = (y[pairs[:, i]].unsqueeze(1) for i in range(2))
    x = torch.full_like(fake, 2.0)
    context = Context({"critic": lambda p: p}, lambda *s: torch.ones(*s), lambda: View(other, other), fake, {})
    losses = CramerGan(critic_dim=1).losses(View(x, x), View(fake, fake), context)
    assert losses.generator is not None
    grid = np.linspace(-1, 4, 500_001)
    cdf = (y.numpy()[:, None] <= grid).mean(axis=0)
    crps = ((cdf - (grid >= 2)) ** 2).sum() * (grid[1] - grid[0])
    assert losses.generator.item() == pytest.approx(2 * crps, abs=1e-4)


def test_wasserstein_by_hand_on_three_points() -> None:
    real, fake = (View(t, t) for t in (torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[1.0], [2.0], [0.0]])))
    losses = Wgan().losses(real, fake)
    assert (losses.critic, losses.generator) == (torch.tensor(-1.0), torch.tensor(-1.0))


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
def test_the_bound_is_tight_at_the_optimal_function(divergence: str) -> None:
    """T* = f'(p/q) of two Gaussians; the divergence by quadrature. Another T gives less."""
    x = torch.linspace(-14, 14, 20001, dtype=torch.float64)
    step = (x[1] - x[0]).item()
    p, q = (torch.exp(-((x - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi)) for m, s in ((0.3, 0.9), (0.0, 1.0)))
    f, activation = F_AND_SLOPE[divergence]
    exact = ((f(p / q) * q).sum() * step).item()
    ratio = (p / q).requires_grad_()
    (best,) = torch.autograd.grad(f(ratio).sum(), ratio)

    def bound(t: Tensor) -> float:
        return float(((t * p).sum() - (CONJUGATES[divergence](t) * q).sum()) * step)

    assert bound(best) == pytest.approx(exact, rel=1e-6, abs=1e-9)
    assert bound(activation((p / q).log() / 2 - 0.1)) < exact
    functions = DIVERGENCES[divergence].of_ratio
    if functions is not None:
        variational, conjugate = functions
        ours = float(((variational(p / q) * p).sum() - (conjugate(p / q) * q).sum()) * step)
        assert ours == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_least_squares_finds_the_density_ratio() -> None:
    """Of two distributions on three points: the critic's loss is least at r = p/q."""
    p, q = (torch.tensor(v, dtype=torch.float64) for v in ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]))
    counts = [torch.repeat_interleave(torch.arange(3), (w * 10).round().long()) for w in (p, q)]
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(3000):
        real, fake = (View(v[c].unsqueeze(1), v[c].unsqueeze(1)) for c in counts)
        loss = RatioMatching().losses(real, fake).critic
        assert loss is not None
        (slope,) = torch.autograd.grad(loss, v)
        v = (v - slope).detach().requires_grad_()
    torch.testing.assert_close(softplus(v).detach(), p / q, atol=1e-4, rtol=1e-4)


def sinkhorn(x: Tensor, y: Tensor, **fields: Any) -> Tensor:
    found = Sinkhorn.model_validate(fields).losses(View(x), View(y)).generator
    assert found is not None
    return found


def test_sinkhorn_without_regularisation_is_optimal_transport() -> None:
    x, y = points(6, 2), points(6, 2, seed=1) + 1
    cost = torch.cdist(x, y).square().numpy()
    exact = cost[linear_sum_assignment(cost)].mean()
    found = sinkhorn(x, y, regularisation=5e-3, iterations=2000)
    assert found.item() == pytest.approx(2 * exact, rel=1e-2)


def test_sinkhorn_s_gradient_is_that_of_its_value() -> None:
    x, y = points(5, 2), points(6, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: sinkhorn(x, t, regularisation=3.0, iterations=60), (y,), atol=1e-5)


def test_sinkhorn_of_a_set_with_itself_is_zero_and_flat() -> None:
    x = points(6, 2)
    y = x.clone().requires_grad_()
    found = sinkhorn(x, y, regularisation=1.0, iterations=300)
    assert found.item() == pytest.approx(0, abs=1e-9)
    assert torch.autograd.grad(found, y)[0].abs().max() < 1e-8


def test_scaled_mmd_is_at_most_gradient_controlled_mmd() -> None:
    """The ball of the scaled norm lies within that of the gradient-controlled one; both use the same μ and λ."""
    for seed in range(5):
        scene = Scene(Gcmmd())
        scene.x = points(N, D, seed=seed) + 1
        controlled = scene.losses().traces
        inverse = 1 + 1 + squared_slopes(scene, scene.x)  # λ + E k(φ, φ) + E‖∇φ‖²/s²
        scaled = controlled["mmd2"] / inverse
        assert 0 < scaled.item() <= controlled["gcmmd2"].item()


def test_the_scale_bounds_the_witness_s_gradient() -> None:
    """E‖∇(σ f)‖² ≤ 1 for the witness f of unit norm."""
    scene = Scene(SmmdGan(scaling="theory"))
    scale = scene.losses().traces["scale"]
    k = plain_kernel(scene.objective)
    fx, fy = scene.critic(scene.x), scene.critic(scene.y)

    def witness(p: Tensor) -> Tensor:
        return mean([k(f, scene.critic(p)) for f in fx]) - mean([k(f, scene.critic(p)) for f in fy])

    biased = kernels.kernel_mmd2(kernels.Gaussian(1.0), fy, fx, unbiased=False)
    squared = mean([(scene.slope(witness, p) ** 2).sum() for p in scene.x]) / biased * scale
    assert 0 < squared.item() <= 1


def test_hutchinson_s_estimate_has_the_right_mean() -> None:
    exact, scene = Scene(SmmdGan(critic_dim=4)), Scene(SmmdGan(critic_dim=4, jacobian="hutchinson", probes=4000))
    rng = torch.Generator().manual_seed(0)
    context = Context(
        {"critic": scene.critic}, lambda *s: torch.rand(s, generator=rng), lambda: View(scene.y), scene.y, {}
    )
    real, fake = (View(side, scene.critic(side)) for side in (scene.x, scene.y))
    found = losses_function(scene.objective)(real, fake, context).traces["squared_gradient"]
    assert found.item() == pytest.approx(exact.losses().traces["squared_gradient"].item(), rel=0.05)


def test_the_multiplier_grows_by_the_constraint() -> None:
    scene = Scene(SobolevGan(penalty_weight=0.25))
    losses = scene.losses()
    expected = 0.7 + 0.25 * losses.traces["constraint"]
    torch.testing.assert_close(losses.state["multiplier"].double(), expected.detach(), check_dtype=False)
    assert not losses.state["multiplier"].requires_grad


# What is refused


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda: FGan(divergence="total_variation", parametrisation="ratio"), "f' is a step"),
        (lambda: SmmdGan(critic_dim=17), "should be at most 16, or jacobian: hutchinson"),
        (lambda: SmmdGan(kernel="distance", scaling="theory"), "the distance kernel has no derivative"),
    ],
)
def test_an_unusable_set_up_is_one_line(objective: Callable[[], Objective], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        objective()
    assert len(caught.value.errors()) == 1


@pytest.mark.parametrize("objective", [o for o, _ in CASES if o.penalises_gradients], ids=lambda o: o.name)
def test_a_penalty_refuses_batch_norm_in_the_critic(objective: Objective, ring_config: dict[str, Any]) -> None:
    def build(norm: str) -> None:
        network = ring_config["network"] | {"norm": norm}
        config = TrialConfig.model_validate(ring_config | {"network": network})
        build_networks(config.model_copy(update={"objective": objective}), (2,))

    with pytest.raises(
        ValueError, match=r"has BatchNorm, which mixes samples; should be network\.norm = layer or none"
    ):
        build("batch")
    build("layer")
    build("none")


def test_gcmmd_refuses_images(digits_config: dict[str, Any]) -> None:
    config = TrialConfig.model_validate(digits_config).model_copy(update={"objective": Gcmmd()})
    with pytest.raises(ValueError, match="at most 10 dimensions, not 64; try smmd_gan"):
        build_networks(config, (1, 8, 8))


def test_wgan_s_critic_stays_in_its_cube(ring_config: dict[str, Any]) -> None:
    objective = {"name": "wgan", "weight_clamp": 0.05, "boosted_steps": 0, "boost_every": None}
    optimizer = {"name": "rmsprop", "learning_rate": 1e-3}
    config = TrialConfig.model_validate(ring_config | {"objective": objective, "optimizer": optimizer})
    trained = Trainer(config, Path("unused"), torch.device("cpu"))
    trained.advance(2)
    bound = max(p.abs().max().item() for p in trained.replicates.network("critic", 0).parameters())
    assert 0.05 <= bound < 0.06
