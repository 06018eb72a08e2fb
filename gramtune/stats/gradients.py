"""Gradients of a critic at points: penalties, norms and Jacobians, which can be differentiated by its parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""[..., B, D] → [..., B, K]; row b of the result depends only on row b of the points."""


def root(squared: Tensor) -> Tensor:
    """√s with the slope 0 instead of infinity at s = 0."""
    return squared.clamp_min(1e-24).sqrt()


def norm(vectors: Tensor) -> Tensor:
    """Euclidean norm of the last dimension, with the gradient 0 at 0: [..., D] → [...]."""
    return root(vectors.square().sum(dim=-1))


def mixed(real: Tensor, fake: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """x̃ = ε x + (1 − ε) y with one ε ~ U[0, 1] per sample: [..., B, D] each."""
    share = uniform(real.shape[-2], 1).to(real.dtype)
    return share * real.detach() + (1 - share) * fake.detach()


def gradient(function: Function, points: Tensor, *, create_graph: bool = True) -> Tensor:
    """∇_x f(x) at each point, for a function with one output [..., B] or [..., B, 1]: [..., B, D]."""
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        value = function(points).sum()
    (found,) = torch.autograd.grad(value, points, create_graph=create_graph)
    return found


def jacobian(function: Function, points: Tensor, *, create_graph: bool = True) -> Tensor:
    """∂f_k/∂x_i at each point: [..., B, K, D], by K backward passes."""
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        outputs = function(points).sum(dim=tuple(range(points.dim() - 1)))
    rows = [torch.autograd.grad(out, points, retain_graph=True, create_graph=create_graph)[0] for out in outputs]
    return torch.stack(rows, dim=-2)


def unit_norm_penalty(function: Function, points: Tensor) -> Tensor:
    """mean (‖∇_x f(x)‖₂ − 1)² (Gulrajani et al. 2017), over all entries of a sample: [...]."""
    return (norm(gradient(function, points)) - 1).square().mean(dim=-1)
