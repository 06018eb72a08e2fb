"""Draws the Dirac-GAN's vector fields: how each method moves θ and ψ, with trajectories, and D_MMD and D_SMMD.

    python benchmarks/dirac_field.py [docs/dirac.png]

Data δ_0, model δ_θ, critic φ(x) = ψx (Mescheder et al. 2018). Each arrow is (−∂L_G/∂θ, −∂L_C/∂ψ) of the objective's own
losses; a trajectory takes alternating gradient steps of 0.05.
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from gramtune.components import Context, Objective, View, losses_function
from gramtune.objectives.cramer_gan import CramerGan
from gramtune.objectives.gan import Gan
from gramtune.objectives.smmd_gan import SmmdGan
from gramtune.objectives.sobolev_gan import SobolevGan
from gramtune.objectives.wgan import Wgan
from gramtune.objectives.wgan_gp import WganGp

METHODS: dict[str, Objective] = {
    "GAN": Gan(),
    "WGAN (no clamp)": Wgan(weight_clamp=None),
    "WGAN-GP, λ = 1": WganGp(gradient_penalty=1.0),
    "Sobolev, ρ = 1": SobolevGan(penalty_weight=1.0),
    "Cramér, λ = 1": CramerGan(critic_dim=1, gradient_penalty=1.0),
    "SMMD, λ = 1": SmmdGan(scaling="theory"),
}
_BATCH = 4


def field(objective: Objective, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
    """(−∂L_G/∂θ, −∂L_C/∂ψ) at points θ, ψ: [P] each → [P] each."""
    theta, psi = theta.detach().requires_grad_(), psi.detach().requires_grad_()

    def critic(x: Tensor) -> Tensor:
        return x * psi[:, None, None]

    def generated() -> View:
        points = theta[:, None, None].expand(-1, _BATCH, 1)
        return View(points, critic(points))

    shares = torch.linspace(0, 1, _BATCH, dtype=theta.dtype)[:, None].expand(len(theta), -1, -1)
    state = {name: torch.full_like(theta, value) for name, value in objective.state.items()}
    real = torch.zeros(len(theta), _BATCH, 1, dtype=theta.dtype)
    context = Context({"critic": critic}, lambda *_: shares, generated, real, state)
    losses = losses_function(objective)(View(real, critic(real)), generated(), context)
    assert losses.generator is not None
    assert losses.critic is not None
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    (of_theta,) = torch.autograd.grad(losses.generator.sum(), theta, **options)
    (of_psi,) = torch.autograd.grad(losses.critic.sum(), psi, **options)
    return -of_theta, -of_psi


def trajectory(objective: Objective, theta: float, psi: float, steps: int = 1500, rate: float = 0.05) -> Tensor:
    """θ and ψ after each of these steps, critic first: [steps + 1, 2]."""
    point = torch.tensor([theta, psi], dtype=torch.float64)
    path = [point]
    for _ in range(steps):
        _, of_psi = field(objective, point[:1], point[1:])
        point = torch.cat((point[:1], point[1:] + rate * of_psi))
        of_theta, _ = field(objective, point[:1], point[1:])
        point = torch.cat((point[:1] + rate * of_theta, point[1:]))
        path.append(point)
    return torch.stack(path)


def distances(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
    """D_MMD and D_SMMD of δ_0 and δ_θ, the suprema over a grid of ψ, Gaussian kernel, λ = 1: [P], [Q] → [P] each."""
    squared = 2 - 2 * (-(theta[:, None] * psi).square() / 2).exp()
    scaled = squared / (2 + psi.square())
    return squared.amax(dim=1).sqrt(), scaled.amax(dim=1).sqrt()


def main(path: str) -> None:
    axis = torch.linspace(-2, 2, 21, dtype=torch.float64)
    theta, psi = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="xy"))
    figure, axes = plt.subplots(2, 4, figsize=(14, 7), layout="constrained")
    for panel, (name, objective) in zip(axes.flat, METHODS.items(), strict=False):
        u, v = field(objective, theta, psi)
        length = (u.square() + v.square()).sqrt().clamp_min(1e-9)
        panel.quiver(theta, psi, u / length, v / length, color="0.6", pivot="mid", scale=30, width=0.004)
        path_taken = trajectory(objective, 1.0, 0.5)
        panel.plot(*path_taken.T, color="black", linewidth=1)
        panel.plot(*path_taken[0], "o", color="black")
        panel.plot(*path_taken[-1], "s", color="red")
        panel.set(title=name, xlabel="θ", ylabel="ψ", xlim=(-2, 2), ylim=(-2, 2))
        late = path_taken[-300:, 0].abs()
        print(f"{name:<16} |θ| at the end {late[-1]:.3f}, mean of the last 300 steps {late.mean():.3f}")
    at = torch.linspace(-1, 1, 401, dtype=torch.float64)
    d_mmd, d_smmd = distances(at, torch.linspace(-2000, 2000, 40001, dtype=torch.float64))
    for panel, values, name in zip(axes.flat[6:], (d_mmd, d_smmd), ("D_MMD", "D_SMMD"), strict=True):
        panel.plot(at, values)
        panel.set(title=name, xlabel="θ", ylim=(0, None))
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs/dirac.png")
