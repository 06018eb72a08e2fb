"""Each preset of GRAM against a NumPy transcription of its code's formulas, which reads no field of the objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gramtune.components import View
from gramtune.objectives.gram import PRESETS, Gram

Array = NDArray[Any]
Formula = Callable[[Array, Array, Sequence[float]], tuple[Any, Any]]
"""(generated [N, K], data [M, K], bandwidths) → what the critic maximises, what the generator minimises."""


def kernel(a: Array, b: Array, twice_variance: float) -> Array:
    """exp(−‖a_i − b_j‖²/twice_variance): [N, K], [M, K] → [N, M]."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=-1) / twice_variance)


def mmd2(q: Array, p: Array, twice_variance: float) -> Any:
    """mean K_qq − 2 mean K_qp + mean K_pp."""
    return (
        kernel(q, q, twice_variance).mean()
        - 2 * kernel(q, p, twice_variance).mean()
        + kernel(p, p, twice_variance).mean()
    )


def ratio(q: Array, p: Array, twice_variance: float, ridge: float) -> Array:
    """N/M · (K_qq + εI)⁻¹ K_qp 1: [N]."""
    inverse = np.linalg.inv(kernel(q, q, twice_variance) + ridge * np.eye(len(q)))
    return len(q) / len(p) * inverse @ kernel(q, p, twice_variance).sum(axis=1)


def camera_ready(q: Array, p: Array, sigmas: Sequence[float]) -> tuple[Any, Any]:
    """The paper's text and JuliaGRAM: mean (r − 1)² + Σ r; √ of the mean MMD²."""
    r = sum(ratio(q, p, 2 * s**2, 1e-3) for s in sigmas) / len(sigmas)
    mean = sum(mmd2(q, p, 2 * s**2) for s in sigmas) / len(sigmas)
    return ((r - 1) ** 2).mean() + r.sum(), mean**0.5


def submission(q: Array, p: Array, sigmas: Sequence[float]) -> tuple[Any, Any]:
    """GRAM.jl: mean (r − 1)² + mean r; √(Σ_σ MMD² + 1e-6)."""
    r = sum(ratio(q, p, 2 * s**2, 1e-3) for s in sigmas) / len(sigmas)
    return ((r - 1) ** 2).mean() + r.mean(), (sum(mmd2(q, p, 2 * s**2) for s in sigmas) + 1e-6) ** 0.5


def flow(q: Array, p: Array, variances: Sequence[float]) -> tuple[Any, Any]:
    """GRAMFlow: mean r from a plain inverse; √ of the mean MMD²; σ is a variance."""
    r = sum(ratio(q, p, 2 * v, 0) for v in variances) / len(variances)
    return r.mean(), (sum(mmd2(q, p, 2 * v) for v in variances) / len(variances)) ** 0.5


def summed_ratios(q: Array, p: Array, sigmas: Sequence[float]) -> tuple[Any, Any]:
    """GRAMTorch: mean (r − 1)² + Σ r with ratios summed over bandwidths; √ of the mean MMD²."""
    r = sum(ratio(q, p, 2 * s**2, 1e-3) for s in sigmas)
    mean = sum(mmd2(q, p, 2 * s**2) for s in sigmas) / len(sigmas)
    return ((r - 1) ** 2).mean() + r.sum(), mean**0.5


FORMULAS: dict[str, Formula] = {
    "paper": camera_ready,
    "submission": submission,
    "julia": camera_ready,
    "flow": flow,
    "torch": summed_ratios,
}


def derivatives(formula: Formula, which: int, q: Array, p: Array, bandwidths: Sequence[float]) -> Array:
    """∂/∂(q, p) by complex steps, Im f(x + ih)/h, which lose no digits: [N + M, K]."""
    both, h = np.concatenate((q, p)).astype(complex), 1e-30
    found = np.zeros(both.shape)
    for index in np.ndindex(both.shape):
        moved = both.copy()
        moved[index] += 1j * h
        found[index] = formula(moved[: len(q)], moved[len(q) :], bandwidths)[which].imag / h
    return found


def test_every_preset_has_a_transcription() -> None:
    assert FORMULAS.keys() == PRESETS.keys()


@pytest.mark.parametrize("given", [None, (0.7, 1.5)], ids=["its own kernels", "two kernels"])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7)])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_equals_its_transcription(preset: str, n: int, m: int, given: tuple[float, ...] | None) -> None:
    """Values and gradients with respect to the features of both sets, in float64."""
    rng = np.random.default_rng(0)
    q, p = 2 * rng.normal(size=(n, 3)), 2 * rng.normal(size=(m, 3)) + 1
    fields = {} if given is None else {"bandwidths": given}
    objective = Gram.model_validate({"preset": preset, "critic_dim": 3, **fields})
    fake, real = (torch.from_numpy(x).requires_grad_() for x in (q, p))
    losses = objective.losses(View(real, real), View(fake, fake))
    assert losses.critic is not None
    formula = FORMULAS[preset]
    for which, ours in enumerate((-losses.critic, losses.generator)):
        expected = formula(q, p, objective.bandwidths)[which]
        assert ours.item() == pytest.approx(expected, rel=1e-7)
        gradient = np.concatenate([g.numpy() for g in torch.autograd.grad(ours, (fake, real), retain_graph=True)])
        theirs = derivatives(formula, which, q, p, objective.bandwidths)
        np.testing.assert_allclose(gradient, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
