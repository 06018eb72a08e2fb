"""Kernels and estimators against double loops, plain inverses and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gramtune.stats.estimators import pearson_divergence
from gramtune.stats.ratio_matching import mixture_mmd2, mmd2_and_ratios


def points(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loop_gram(a: Tensor, b: Tensor, sigma: float) -> list[list[float]]:
    return [
        [math.exp(-sum((u - v) ** 2 for u, v in zip(x, y, strict=True)) / (2 * sigma**2)) for y in b.tolist()]
        for x in a.tolist()
    ]


def plain_gram(a: Tensor, b: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """[..., S, N, M], with nothing but the definition; autograd knows its way through."""
    squared = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(dim=-1)
    return torch.stack([torch.exp(-squared / (2 * sigma**2)) for sigma in sigmas], dim=-3)


def plain_mmd2_and_ratios(f_q: Tensor, f_p: Tensor, sigmas: tuple[float, ...], ridge: float) -> tuple[Tensor, Tensor]:
    """Eq. 10 and eq. 8 through the Gram matrices and autograd, with torch's own solver."""
    k_qq, k_qp, k_pp = (plain_gram(a, b, sigmas) for a, b in ((f_q, f_q), (f_q, f_p), (f_p, f_p)))
    n, m = k_qp.shape[-2:]
    mmd2 = k_qq.mean(dim=(-2, -1)) - 2 * k_qp.mean(dim=(-2, -1)) + k_pp.mean(dim=(-2, -1))
    ridged = k_qq + ridge * torch.eye(n, dtype=k_qq.dtype)
    return mmd2.mean(dim=-1), torch.linalg.solve(ridged, k_qp.sum(dim=-1)) * (n / m)


def test_the_plain_gram_matrix_equals_a_double_loop() -> None:
    x, y, sigmas = points(7, 3), points(5, 3, seed=1), (0.3, 1.0, 5.0)
    for gram, sigma in zip(plain_gram(x, y, sigmas), sigmas, strict=True):
        torch.testing.assert_close(gram, torch.tensor(loop_gram(x, y, sigma), dtype=torch.float64), atol=1e-12, rtol=0)


def test_mmd2_equals_a_loop_over_pairs() -> None:
    fake, real, sigma = points(5, 2), points(7, 2, seed=1) + 0.5, 0.8
    qq, qp, pp = loop_gram(fake, fake, sigma), loop_gram(fake, real, sigma), loop_gram(real, real, sigma)
    expected = sum(map(sum, qq)) / 25 - 2 * sum(map(sum, qp)) / 35 + sum(map(sum, pp)) / 49
    assert mixture_mmd2(fake, real, (sigma,)).item() == pytest.approx(expected, abs=1e-12)


def test_mmd2_of_a_set_with_itself_is_zero() -> None:
    x = points(6, 2)
    assert mixture_mmd2(x, x, (1.0,)).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 9), (9, 4)])
def test_ratios_equal_a_plain_inverse(n: int, m: int) -> None:
    """N ≠ M needs the factor N/M, or r̂ would estimate M/N times the ratio."""
    fake, real, sigmas = points(n, 2), points(m, 2, seed=1), (0.5, 2.0)
    inverse = torch.linalg.inv(plain_gram(fake, fake, sigmas) + 1e-3 * torch.eye(n, dtype=torch.float64))
    expected = n / m * (inverse @ plain_gram(fake, real, sigmas)).sum(dim=-1)
    ratios = mmd2_and_ratios(fake, real, sigmas, 1e-3)[1]
    assert ratios.shape == (2, n)
    torch.testing.assert_close(ratios, expected, atol=1e-10, rtol=1e-9)


def test_ratios_of_equal_distributions_are_about_one() -> None:
    ratios = mmd2_and_ratios(points(400, 1), points(300, 1, seed=1), (1.0,), 1.0)[1]
    assert ratios.mean().item() == pytest.approx(1, abs=0.1)


def test_ratios_are_high_where_the_data_are() -> None:
    fake = torch.linspace(-2, 2, 21, dtype=torch.float64).unsqueeze(1)
    ratios = mmd2_and_ratios(fake, points(50, 1) * 0.1 + 1, (0.5,), 1e-2)[1][0]
    assert fake[ratios.argmax()].item() == pytest.approx(1, abs=0.21)


def test_ratios_are_nan_where_nothing_can_be_factorised() -> None:
    """The trainer turns the NaN into DIVERGED; an exception here would end the whole trial. Its neighbour goes on."""
    fake = torch.stack((torch.zeros(3, 2, dtype=torch.float64), points(3, 2)))
    ratios = mmd2_and_ratios(fake, points(2, 4, 2, seed=1), (1.0,), 0.0)[1]
    assert ratios[0].isnan().all()
    assert ratios[1].isfinite().all()


def test_pearson_divergence_of_known_ratios() -> None:
    ratios = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 3.0]])
    assert pearson_divergence(ratios).tolist() == pytest.approx([0.0, 5 / 3])


# The closed form


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
@pytest.mark.parametrize("sigmas", [(1.0,), (0.5, 1.0, 4.0), (4.0, 0.7, 1.0, 2.0, 0.7, 1.4)], ids=str)
@pytest.mark.parametrize("used", ["mmd", "ratios", "both"])
def test_closed_form_equals_autograd(batch: tuple[int, ...], sigmas: tuple[float, ...], used: str) -> None:
    """Values and gradients, of each output alone too: an unused one has no gradient, not a zero one."""
    inputs = [points(*batch, 6, 3) + 2, points(*batch, 9, 3, seed=1)]
    weights = points(*batch, len(sigmas), 6, seed=2), points(*batch, seed=3) if batch else points(1, seed=3)[0]

    def loss(mmd: Tensor, ratios: Tensor) -> Tensor:
        from_ratios, from_mmd = (ratios * weights[0]).sum() + ratios.square().sum(), (mmd * weights[1]).sum()
        return from_mmd if used == "mmd" else from_ratios if used == "ratios" else from_mmd + from_ratios

    mine, theirs = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    ours, plain = mmd2_and_ratios(*mine, sigmas, 1e-2), plain_mmd2_and_ratios(*theirs, sigmas, 1e-2)
    assert ours[0].shape == batch
    assert ours[1].shape == (*batch, len(sigmas), 6)
    torch.testing.assert_close(ours, plain, atol=1e-11, rtol=1e-9)
    got, expected = torch.autograd.grad(loss(*ours), mine), torch.autograd.grad(loss(*plain), theirs)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_closed_form_of_mmd2_equals_autograd(batch: tuple[int, ...]) -> None:
    sigmas, weights = (0.5, 1.0, 4.0), points(3, seed=2) if batch else torch.tensor(1.5, dtype=torch.float64)
    mine, theirs = (
        [points(*batch, 6, 3).requires_grad_(), points(*batch, 9, 3, seed=1).requires_grad_()] for _ in "ab"
    )
    ours, plain = mixture_mmd2(*mine, sigmas), plain_mmd2_and_ratios(*theirs, sigmas, 1.0)[0]
    assert ours.shape == batch
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
    got, expected = (torch.autograd.grad((m * weights).sum(), x) for m, x in ((ours, mine), (plain, theirs)))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)


def test_closed_form_equals_finite_differences() -> None:
    fake, real = points(4, 2).requires_grad_(), points(5, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda q, p: mixture_mmd2(q, p, (0.7, 2.0)), (fake, real))
    assert torch.autograd.gradcheck(lambda q, p: mmd2_and_ratios(q, p, (0.7, 2.0), 1e-2), (fake, real))


def test_closed_form_in_float32_is_near_float64() -> None:
    double = [points(50, 4).requires_grad_(), points(60, 4, seed=1).requires_grad_()]
    single = [x.detach().float().requires_grad_() for x in double]
    results = []
    for inputs in (double, single):
        mmd, ratios = mmd2_and_ratios(*inputs, (1.0, 2.0), 1e-2)
        assert mmd.dtype == ratios.dtype == inputs[0].dtype
        results.append([t.double() for t in (mmd, ratios, *torch.autograd.grad(mmd + ratios.sum(), inputs))])
    for exact, rounded in zip(*results, strict=True):
        torch.testing.assert_close(rounded, exact, atol=2e-4 * exact.abs().max().item(), rtol=1e-3)


# Float32: witnesses


def naive_gram(x: Tensor) -> Tensor:
    """The once-buggy version: neither centred nor clamped."""
    norms = x.square().sum(dim=-1)
    return torch.exp(-(norms.unsqueeze(-1) + norms.unsqueeze(-2) - 2 * (x @ x.mT)) / 2)


def test_nearly_coincident_features_far_from_the_origin_can_be_solved() -> None:
    """Witness: in float32, K_qq + 1e-3·I of such features is not positive definite unless rows are centred first."""
    fake, real = (points(200, 8, seed=seed, dtype=torch.float32) * 1e-3 + 100 / 8**0.5 for seed in (0, 1))
    assert fake.norm(dim=1).mean().item() == pytest.approx(100, rel=1e-3)
    _, info = torch.linalg.cholesky_ex(naive_gram(fake) + 1e-3 * torch.eye(200))
    assert info.item() > 0
    ratios = mmd2_and_ratios(fake, real, (1.0,), 1e-3)[1]
    assert ratios.isfinite().all()
    assert ratios.mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("where", ["one cluster far from the data", "eight clusters on a sphere"])
def test_clusters_far_apart_can_be_solved(where: str) -> None:
    """Witness: centring does not help where there is more than one cluster, nor a float64 solve of float32 distances.

    A critic that drives modes apart makes exactly this; the NaN was reported as the divergence of the model, and
    where there was none, the ratios were wrong by 14.
    """
    centres = torch.nn.functional.normalize(points(8, 8, seed=9, dtype=torch.float32)) * 100
    mode = torch.arange(200) % 8 if where.startswith("eight") else torch.zeros(200, dtype=torch.int64)
    noise = [points(200, 8, seed=seed, dtype=torch.float32) * 1e-3 for seed in (0, 1)]
    fake, real = noise[0] + centres[mode], noise[1] + centres[mode] * where.startswith("eight")
    centred = fake - torch.cat((fake, real)).mean(dim=0)
    _, info = torch.linalg.cholesky_ex(naive_gram(centred).double() + 1e-3 * torch.eye(200, dtype=torch.float64))
    assert info.item() > 0

    fake, real = fake.requires_grad_(), real.requires_grad_()
    ratios = mmd2_and_ratios(fake, real, (1.0,), 1e-3)[1]
    assert ratios.isfinite().all()
    exact = mmd2_and_ratios(fake.double(), real.double(), (1.0,), 1e-3)[1]
    torch.testing.assert_close(ratios.double(), exact, atol=0.05, rtol=0.05)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(ratios.sum(), (fake, real)))
