"""The Dirac-GAN: each method's path, and D_MMD and D_SMMD at 0, as in the slides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from dirac_field import METHODS, distances, field, trajectory

from gramtune.objectives.gan import Gan
from gramtune.objectives.smmd_gan import SmmdGan
from gramtune.objectives.wgan import Wgan


@pytest.mark.parametrize("name", ["GAN", "WGAN (no clamp)", "WGAN-GP, λ = 1"])
def test_these_do_not_converge(name: str) -> None:
    """θ goes on crossing 0 without coming to rest. The non-saturating GAN's circles shrink, slowly."""
    late = trajectory(METHODS[name], 1.0, 0.5, steps=900)[-450:, 0]
    assert late.abs().max() > 0.2
    assert late.min() < 0 < late.max()


def test_scaled_mmd_converges() -> None:
    assert trajectory(METHODS["SMMD, λ = 1"], 1.0, 0.5, steps=600)[-1, 0].abs() < 0.05


def test_the_field_of_wgan_is_a_rotation() -> None:
    theta, psi = torch.tensor([0.3, -1.0]), torch.tensor([0.7, 0.2])
    of_theta, of_psi = field(Wgan(weight_clamp=None), theta, psi)
    torch.testing.assert_close(of_theta, psi)
    torch.testing.assert_close(of_psi, -theta)


def test_the_field_of_gan_is_that_of_its_logits() -> None:
    theta, psi = torch.tensor([0.3]), torch.tensor([0.7])
    of_theta, of_psi = field(Gan(), theta, psi)
    torch.testing.assert_close(of_theta, psi * torch.sigmoid(-psi * theta))
    torch.testing.assert_close(of_psi, -theta * torch.sigmoid(psi * theta))


def test_d_mmd_jumps_at_zero_and_d_smmd_does_not() -> None:
    theta = torch.tensor([0.0, 0.01, 0.1, 1.0], dtype=torch.float64)
    d_mmd, d_smmd = distances(theta, torch.linspace(-5000, 5000, 100001, dtype=torch.float64))
    torch.testing.assert_close(d_mmd, torch.tensor([0.0, 2**0.5, 2**0.5, 2**0.5], dtype=torch.float64))
    assert d_smmd[0] == 0
    assert (d_smmd <= theta).all()
    assert 0.005 < d_smmd[1] < d_smmd[2] < d_smmd[3]


def test_the_objective_s_smmd_is_that_of_the_formula() -> None:
    """Both are σ² MMD² of two points, λ = 1, s = 1."""
    theta = torch.tensor([0.8], dtype=torch.float64)
    psi = torch.tensor([1.3], dtype=torch.float64).requires_grad_()
    _, of_psi = field(SmmdGan(scaling="theory"), theta, psi)
    scaled = (2 - 2 * (-(theta * psi).square() / 2).exp()) / (2 + psi.square())
    torch.testing.assert_close(of_psi, torch.autograd.grad(scaled.sum(), psi)[0])
