"""R multilayer perceptrons in one batched product per layer, with a backward pass of a few calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten
_DERIVATIVES: dict[type[nn.Module], Callable[[Tensor, Tensor, Any], Tensor]] = {
    nn.ReLU: lambda g, out, _: _aten.threshold_backward(g, out, 0),
    nn.LeakyReLU: lambda g, out, layer: _aten.leaky_relu_backward(g, out, layer.negative_slope, True),
    nn.Tanh: lambda g, out, _: _aten.tanh_backward(g, out),
}
"""∂L/∂input of a pointwise layer from ∂L/∂output and its output.

Sigmoid is missing: torch rounds an element by its place in memory, so a replicate would depend on those beside it."""


def is_perceptron(layers: Sequence[nn.Module]) -> bool:
    """Whether `Perceptrons` can run this chain: no layer may compute anything beside what its own type does.

    A parametrised layer has a subclass of its own; weight_norm and spectral_norm of torch.nn.utils are hooks.
    """
    return all(map(_is_known, layers))


def _is_known(layer: nn.Module) -> bool:
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return not any(hooks) and (
        type(layer) is nn.Linear
        or (type(layer) in _DERIVATIVES and getattr(layer, "negative_slope", 0) >= 0)
        or (type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1))
        or (type(layer) is nn.Unflatten and layer.dim == 1)
    )


class _Linear(NamedTuple):
    """Views of the parameters of a linear layer of all chains, and of where their gradients go."""

    weight: Tensor  # [R, out, in]
    transposed: Tensor  # [R, in, out]
    weight_gradient: Tensor  # [R, out, in]
    bias: Tensor | None  # [R, 1, out]
    bias_gradient: Tensor | None  # [R, out]


class Perceptrons:
    """R chains of linear and pointwise layers, with the parameters of chain i in row i of a matrix [R, P].

    One autograd node for all of it, and few operators within: in networks as small as the ring's, calling operators
    takes longer on a CPU than what they do. Not twice differentiable.
    """

    def __init__(
        self, layers: Sequence[nn.Module], values: Tensor, gradient: Tensor, views: Callable[[Tensor], list[Tensor]]
    ) -> None:
        """`values` and `gradient`, [R, P], are used where they lie; `views`: of each parameter in them, [R, *shape]."""
        self.leaf = values.detach().requires_grad_()
        """The parameters, as autograd knows them; what it finds for them is `gradient` itself."""
        self.gradient = gradient
        parameters, gradients = iter(views(values.detach())), iter(views(gradient))
        self._layers = [(layer, _linear(layer, parameters, gradients)) for layer in layers]
        self._collects = self._found = False

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """[R, B, *in] each → [R, B, *out] each, all in one pass; no row depends on another."""
        out: tuple[Tensor, ...] = _Chain.apply(self, self.leaf, *batches)
        return out

    @property
    def collects_gradients(self) -> bool:
        """Whether the backward pass under way is for these parameters."""
        return self._collects

    @contextmanager
    def collecting_gradients(self) -> Iterator[None]:
        """For a backward pass that is for these parameters; any other only passes through them."""
        self._collects, self._found = True, False
        try:
            yield
        finally:
            self._collects = False

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output, and what `backward` needs: inputs of linear and outputs of pointwise layers."""
        kept = []
        for layer, linear in self._layers:
            if linear is not None:
                kept.append(x)
                x = _apply(linear, x)
            elif isinstance(layer, nn.Flatten):
                x = x.flatten(2)
            elif isinstance(layer, nn.Unflatten):
                x = x.unflatten(2, layer.unflattened_size)
            else:
                x = layer(x)
                kept.append(x)
        return x, kept

    def backward(self, grad: Tensor, kept: Sequence[Tensor], of_inputs: bool) -> Tensor | None:
        """∂L/∂inputs, [R, B, in], if asked for; ∂L/∂parameters, if sought, into `gradient`.

        Raises RuntimeError where these would have to be added up.
        """
        if self._collects and self._found:
            raise RuntimeError("perceptrons are applied once per graph, to all batches together")
        self._found = self._collects
        kept = list(kept)
        for i in reversed(range(len(self._layers))):
            layer, linear = self._layers[i]
            if linear is not None:
                grad = grad.flatten(2) if grad.dim() > 3 else grad
                self._find(linear, grad, kept.pop())
                if i == 0 and not of_inputs:
                    return None
                grad = _product(grad, linear.weight)
            elif derivative := _DERIVATIVES.get(type(layer)):
                out = kept.pop()
                grad = derivative(grad if grad.shape == out.shape else grad.reshape(out.shape), out, layer)
        return grad

    def _find(self, linear: _Linear, grad: Tensor, x: Tensor) -> None:
        if self._collects:
            _product_into(linear.weight_gradient, grad.mT, x)
            if linear.bias_gradient is not None:
                torch.sum(grad, dim=1, out=linear.bias_gradient)


def _linear(layer: nn.Module, parameters: Iterator[Tensor], gradients: Iterator[Tensor]) -> _Linear | None:
    """The next parameters, if this layer has any."""
    if not isinstance(layer, nn.Linear):
        return None
    weight, weight_gradient = next(parameters), next(gradients)
    if layer.bias is None:
        return _Linear(weight, weight.mT, weight_gradient, None, None)
    return _Linear(weight, weight.mT, weight_gradient, next(parameters).unsqueeze(1), next(gradients))


def _apply(linear: _Linear, x: Tensor) -> Tensor:
    if linear.bias is None:
        return _product(x, linear.transposed)
    if _is_thin(x, linear.transposed):
        return _thin_product(x, linear.transposed).add_(linear.bias)
    return torch.baddbmm(linear.bias, x, linear.transposed)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right for each replicate. The rounding does not depend on the number of replicates."""
    return _thin_product(left, right) if _is_thin(left, right) else torch.bmm(left, right)


def _product_into(out: Tensor, left: Tensor, right: Tensor) -> None:
    """Writes `_product` into `out`."""
    if _is_thin(left, right):
        out.copy_(_thin_product(left, right))
    else:
        torch.bmm(left, right, out=out)


def _is_thin(left: Tensor, right: Tensor) -> bool:
    """Whether a dimension of the product is 1: MKL then rounds one pair of matrices and several pairs differently."""
    return 1 in left.shape[1:] or right.shape[2] == 1


def _thin_product(left: Tensor, right: Tensor) -> Tensor:
    """left [R, n, k] @ right [R, k, m], where n, k or m is 1.

    k = 1: each element is one product, rounded once. Otherwise the vector is doubled, so that n and m are at least 2.
    """
    n, k, m = (*left.shape[1:], right.shape[2])
    if k == 1:
        return left * right
    left = left.expand(-1, 2, -1) if n == 1 else left
    right = right.expand(-1, -1, 2) if m == 1 else right
    return torch.bmm(left, right)[:, :n, :m].contiguous()


class _Chain(torch.autograd.Function):
    """See `Perceptrons`."""

    @staticmethod
    def forward(ctx: Any, perceptrons: Perceptrons, leaf: Tensor, *batches: Tensor) -> tuple[Tensor, ...]:
        out, kept = perceptrons.forward(batches[0] if len(batches) == 1 else torch.cat(batches, dim=1))
        ctx.perceptrons, ctx.shapes = perceptrons, [batch.shape for batch in batches]
        ctx.save_for_backward(*kept)
        return (out,) if len(batches) == 1 else out.split([shape[1] for shape in ctx.shapes], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Where no parameters are sought, batches that nobody trains stay out of it: the data before the critic."""
        perceptrons, shapes, trained = ctx.perceptrons, ctx.shapes, ctx.needs_input_grad[2:]
        first = 0 if perceptrons.collects_gradients else trained.index(True)
        start = sum(shape[1] for shape in shapes[:first])
        kept = [value[:, start:] for value in ctx.saved_tensors] if start else ctx.saved_tensors
        grad = grads[first] if first == len(grads) - 1 else torch.cat(grads[first:], dim=1)
        of_inputs = perceptrons.backward(grad, kept, any(trained))
        of_leaf = perceptrons.gradient if perceptrons.collects_gradients else None
        return None, of_leaf, *[None] * first, *_parts(of_inputs, shapes[first:])


def _parts(of_inputs: Tensor | None, shapes: Sequence[torch.Size]) -> Sequence[Tensor | None]:
    """What belongs to each of these batches."""
    if of_inputs is None:
        return [None] * len(shapes)
    parts = of_inputs.split([shape[1] for shape in shapes], dim=1)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
