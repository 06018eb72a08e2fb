"""The networks of a trial: R initialisations of each, with all their parameters in one matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gramtune.components import Shape
from gramtune.training.config import TrialConfig

_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)
_ALIGNED = 64
"""Parameters per replicate are padded to a multiple of this, so that a vectorised update rounds each one alike whatever
replicates lie beside it."""


def build_networks(config: TrialConfig, shape: Shape) -> dict[str, nn.Module]:
    """The networks that the objective wants, on the meta device: shapes only, no memory.

    Raises ValueError if the network cannot serve the shape or lacks what the objective wants.
    """
    spec = config.objective.critic()
    with torch.device("meta"):
        networks = {"generator": config.network.generator(shape)}
        if spec is not None:
            networks["critic"] = config.network.critic(shape, spec.output_dim)
            if spec.decoder:
                networks["decoder"] = config.network.decoder(shape, spec.output_dim)
    return networks


class Stack:
    """R networks of one architecture, applied to R batches at once: [R, B, *in] → [R, B, *out].

    Multilayer perceptrons take one batched product per layer. All others run one after the other: on a CPU grouped
    convolutions are faster for the smallest networks only. Either way `values` [R, P] holds every parameter
    and `gradient` [R, P] what `differentiate` found, so that one optimiser steps them all.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        self._frozen: list[int] = []
        slots = _slots(networks[0])
        width = -(-sum(math.prod(shape) for shape in slots.values()) // _ALIGNED) * _ALIGNED
        first = next(networks[0].parameters())
        self.values = first.new_zeros(len(networks), width)
        self.gradient = torch.zeros_like(self.values)
        for network, row in zip(networks, self.values, strict=True):
            _move(network, row)
        self._batched = _is_perceptron(networks[0])
        if self._batched:
            self._leaves = [view.detach().requires_grad_() for view in _views(self.values, slots)]
            self._slots = _views(self.gradient, slots)
        else:
            self._leaves = [parameter for network in networks for parameter in network.parameters()]
            self._slots = [view for row in self.gradient for view in _views(row, slots)]
        self.parameter = nn.Parameter(self.values)
        self.parameter.grad = self.gradient

    def __call__(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if self._batched:
            return self._perceptron(inputs)
        return torch.stack([network(batch) for network, batch in zip(self.networks, inputs.unbind(), strict=True)])

    def freeze(self, replicate: int, frozen: bool = True) -> None:
        """Whether parameters and batch statistics of this replicate stay as they are from now on."""
        self._frozen = sorted({*self._frozen, replicate} if frozen else {*self._frozen} - {replicate})
        self.networks[replicate].train(not frozen)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around everything that writes to `values`: frozen rows stay as they are."""
        if not self._frozen:
            yield
            return
        self.gradient[self._frozen] = 0.0  # what is not finite would stay in the optimiser's moments
        before = self.values[self._frozen]
        yield
        self.values[self._frozen] = before

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """BatchNorm uses its running averages, and leaves them alone."""
        for network in self.networks:
            network.eval()
        try:
            yield
        finally:
            for i, network in enumerate(self.networks):
                network.train(i not in self._frozen)

    def state_dict(self, replicate: int) -> dict[str, Tensor]:
        """Parameters and buffers of one replicate under the names that its module gives them."""
        return {name: value.detach().clone() for name, value in self.networks[replicate].state_dict().items()}

    def load_state_dict(self, replicate: int, state: dict[str, Any]) -> None:
        """Strict inverse of `state_dict`. Raises RuntimeError for another architecture."""
        self.networks[replicate].load_state_dict(state)

    def _perceptron(self, x: Tensor) -> Tensor:
        leaves = iter(self._leaves)
        for layer in _layers(self.networks[0]):
            if isinstance(layer, nn.Linear):
                weight = next(leaves).mT
                x = torch.baddbmm(next(leaves).unsqueeze(1), x, weight) if layer.bias is not None else x @ weight
            elif isinstance(layer, nn.Flatten):
                x = x.flatten(2)
            elif isinstance(layer, nn.Unflatten):
                x = x.unflatten(2, layer.unflattened_size)
            else:
                x = layer(x)
        return x


def differentiate(stacks: Sequence[Stack], losses: Tensor, *, retain: bool) -> Tensor:
    """Puts ∂loss_i/∂values_i into row i of each stack's `gradient`, for losses [R], in one backward pass.

    Returns the Euclidean norms of the rows, all stacks together, [R]. No other parameters get a gradient. `retain`: the
    graph is needed once more.
    """
    leaves = [leaf for stack in stacks for leaf in stack._leaves]
    slots = [slot for stack in stacks for slot in stack._slots]
    torch._foreach_copy_(slots, torch.autograd.grad(losses.sum(), leaves, retain_graph=retain))
    norms: Tensor = torch.stack([torch.linalg.vector_norm(stack.gradient, dim=1) for stack in stacks]).norm(dim=0)
    return norms


def _layers(network: nn.Module) -> list[nn.Module]:
    """The layers of a chain in their order; a network that is no chain is one layer."""
    if isinstance(network, nn.Sequential):
        return [layer for part in network for layer in _layers(part)]
    return [network]


def _is_perceptron(network: nn.Module) -> bool:
    return all(
        isinstance(layer, (nn.Linear, *_POINTWISE))
        or (isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1))
        or (isinstance(layer, nn.Unflatten) and layer.dim == 1)
        for layer in _layers(network)
    )


def _slots(network: nn.Module) -> dict[str, torch.Size]:
    """Name and shape of each parameter, in the order in which they lie in a row."""
    return {name: parameter.shape for name, parameter in network.named_parameters()}


def _views(values: Tensor, slots: dict[str, torch.Size]) -> list[Tensor]:
    """Views of [..., P] with the shapes of the parameters, [..., *shape]."""
    ends = torch.tensor([math.prod(shape) for shape in slots.values()]).cumsum(0).tolist()
    parts = values.tensor_split(ends, dim=-1)[: len(slots)]
    return [part.unflatten(-1, shape) for part, shape in zip(parts, slots.values(), strict=True)]


def _move(network: nn.Module, row: Tensor) -> None:
    """Makes `row` the memory of the network's parameters."""
    slots = _slots(network)
    for name, view in zip(slots, _views(row, slots), strict=True):
        owner_name, _, leaf = name.rpartition(".")
        owner = network.get_submodule(owner_name)
        view.copy_(getattr(owner, leaf).detach())
        setattr(owner, leaf, nn.Parameter(view))
