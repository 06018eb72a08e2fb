"""The networks of a trial: R initialisations of each, with all their parameters in one matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gramtune.components import Shape
from gramtune.training.config import TrialConfig
from gramtune.training.perceptron import Perceptrons, is_perceptron

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
            if spec.translation_invariant:
                _drop_output_bias(networks["critic"])
            if spec.decoder:
                networks["decoder"] = config.network.decoder(shape, spec.output_dim)
    return networks


class Stack:
    """R networks of one architecture, applied to R batches at once: [R, B, *in] → [R, B, *out].

    Multilayer perceptrons take one batched product per layer (`Perceptrons`). All others run one after the other: on a
    CPU grouped convolutions are faster for the smallest networks only. Either way `values` [R, P] holds every parameter
    and `gradient` [R, P] what `differentiate` found, so that one optimiser steps them all.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        slots = _slots(networks[0])
        width = -(-sum(math.prod(shape) for shape in slots.values()) // _ALIGNED) * _ALIGNED
        first = next(networks[0].parameters())
        self.values = first.new_zeros(len(networks), width)
        self._frozen = torch.zeros(0, dtype=torch.long, device=first.device)
        self.gradient = torch.zeros_like(self.values)
        for network, row in zip(networks, self.values, strict=True):
            _move(network, row)
        layers, views = _layers(networks[0]), partial(_views, slots=slots)
        self._perceptrons = Perceptrons(layers, self.values, self.gradient, views) if is_perceptron(layers) else None
        self.leaves = [self._perceptrons.leaf] if self._perceptrons else [p for n in networks for p in n.parameters()]
        """What autograd differentiates by."""
        self._slots = [] if self._perceptrons else [view for row in self.gradient for view in views(row)]
        self.rows = [nn.Parameter(row) for row in self.values]
        """What an optimiser steps: the parameters of each network. On a GPU it works on all rows at once, but through
        one long row with few threads."""
        for parameter, found in zip(self.rows, self.gradient, strict=True):
            parameter.grad = found

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """See the class; no batch changes what comes of another, in BatchNorm either."""
        if self._perceptrons is not None:
            return self._perceptrons(*batches)
        return tuple(self._one_by_one(batch) for batch in batches)

    def freeze(self, replicate: int, frozen: bool = True) -> None:
        """Whether parameters and batch statistics of this replicate stay as they are from now on."""
        rows = {*self._frozen.tolist(), replicate} if frozen else {*self._frozen.tolist()} - {replicate}
        self._frozen = self._frozen.new_tensor(sorted(rows))
        self.networks[replicate].train(not frozen)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around everything that writes to `values`: frozen rows stay as they are."""
        if not len(self._frozen):
            yield
            return
        self.gradient.index_fill_(0, self._frozen, 0.0)  # what is not finite would stay in the optimiser's moments
        before = self.values.index_select(0, self._frozen)
        yield
        self.values.index_copy_(0, self._frozen, before)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """BatchNorm uses its running averages, and leaves them alone."""
        were = [network.training for network in self.networks]
        for network in self.networks:
            network.eval()
        try:
            yield
        finally:
            for network, was in zip(self.networks, were, strict=True):
                network.train(was)

    def state_dict(self, replicate: int) -> dict[str, Tensor]:
        """Parameters and buffers of one replicate under the names that its module gives them."""
        return {name: value.detach().clone() for name, value in self.networks[replicate].state_dict().items()}

    def load_state_dict(self, replicate: int, state: dict[str, Any]) -> None:
        """Strict inverse of `state_dict`. Raises RuntimeError for another architecture."""
        self.networks[replicate].load_state_dict(state)

    def sought(self) -> AbstractContextManager[None]:
        """For a backward pass by these `leaves`; what consists of torch's own nodes, autograd knows by itself."""
        return nullcontext() if self._perceptrons is None else self._perceptrons.sought()

    def take(self, found: Sequence[Tensor]) -> None:
        """Lays what autograd found for the `leaves` into `gradient`, where that of perceptrons lies already."""
        if self._slots:
            torch._foreach_copy_(self._slots, list(found))

    def _one_by_one(self, inputs: Tensor) -> Tensor:
        return torch.stack([network(batch) for network, batch in zip(self.networks, inputs.unbind(), strict=True)])


def differentiate(stacks: Sequence[Stack], losses: Tensor, *, retain: bool) -> Tensor:
    """Puts ∂loss_i/∂values_i into row i of each stack's `gradient`, for losses [R], in one backward pass.

    Returns the Euclidean norms of the rows, all stacks together, [R]. No other parameters get a gradient. `retain`: the
    graph is needed once more.
    """
    leaves = [leaf for stack in stacks for leaf in stack.leaves]
    with ExitStack() as contexts:
        for stack in stacks:
            contexts.enter_context(stack.sought())
        found = torch.autograd.grad(losses.sum(), leaves, retain_graph=retain)
    for stack in stacks:
        stack.take(found[: len(stack.leaves)])
        found = found[len(stack.leaves) :]
    norms: list[Tensor] = [torch.linalg.vector_norm(stack.gradient, dim=1) for stack in stacks]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)


def _drop_output_bias(network: nn.Module) -> None:
    """No-op where the last layer is no known one, or has no bias."""
    last = [layer for layer in _layers(network) if not isinstance(layer, nn.Flatten)][-1]
    if isinstance(last, nn.Linear | nn.Conv2d):
        last.register_parameter("bias", None)


def _layers(network: nn.Module) -> list[nn.Module]:
    """The layers of a chain in their order; a network that is no chain is one layer."""
    if isinstance(network, nn.Sequential):
        return [layer for part in network for layer in _layers(part)]
    return [network]


def _slots(network: nn.Module) -> dict[str, torch.Size]:
    """Name and shape of each parameter, in the order in which they lie in a row."""
    return {name: parameter.shape for name, parameter in network.named_parameters()}


def _views(values: Tensor, slots: dict[str, torch.Size]) -> list[Tensor]:
    """Views of [..., P] with the shapes of the parameters, [..., *shape]."""
    sizes = [math.prod(shape) for shape in slots.values()]
    parts = values.split([*sizes, values.shape[-1] - sum(sizes)], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, slots.values(), strict=False)]


def _move(network: nn.Module, row: Tensor) -> None:
    """Makes `row` the memory of the network's parameters."""
    slots = _slots(network)
    for name, view in zip(slots, _views(row, slots), strict=True):
        owner_name, _, leaf = name.rpartition(".")
        owner = network.get_submodule(owner_name)
        view.copy_(getattr(owner, leaf).detach())
        setattr(owner, leaf, nn.Parameter(view))
