"""The networks of a trial: R initialisations of each, with all their parameters in one matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gramtune.components import Shape, losses_function
from gramtune.networks._spectral import spectral_layers
from gramtune.training.config import TrialConfig
from gramtune.training.perceptron import apply_perceptrons, is_perceptron

_ALIGNED = 64
"""Parameters per replicate are padded to a multiple of this, so that the rounding of a vectorised update does not
depend on the number of replicates."""


def build_networks(config: TrialConfig, shape: Shape) -> dict[str, nn.Module]:
    """The networks that the objective needs, on the meta device: shapes only, no memory.

    Raises ValueError if the network does not support the shape, lacks a part that the objective needs or has one that
    it forbids.
    """
    objective = config.objective
    losses_function(objective)
    with torch.device("meta"):
        networks = objective.networks(config.network, shape)
    if (spec := objective.critic()) is not None and spec.translation_invariant:
        _drop_output_bias(networks["critic"])
    if objective.penalises_gradients and _batch_norms(networks["critic"]):
        raise ValueError(
            f"objective {objective.name} penalises the critic's gradient at each sample, and the critic of network "
            f"{config.network.name} has BatchNorm, which mixes samples; should be network.norm = layer or none"
        )
    return networks


class Stack:
    """R networks of one architecture, applied to R batches at once: [R, B, *in] → [R, B, *out].

    Multilayer perceptrons take one batched product per layer (`apply_perceptrons`). All others run one after the other:
    on a CPU grouped convolutions are faster only for the smallest networks. `values` [R, P] holds all parameters and
    `gradient` [R, P] the result of `differentiate`, so that one optimiser steps all replicates.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        self._slots = _slots(networks[0])
        width = -(-sum(math.prod(shape) for shape in self._slots.values()) // _ALIGNED) * _ALIGNED
        first = next(networks[0].parameters())
        self.values = first.new_zeros(len(networks), width)
        self._frozen = torch.zeros(0, dtype=torch.long, device=first.device)
        self.gradient = torch.zeros_like(self.values)
        for network, row in zip(networks, self.values, strict=True):
            _move(network, row)
        layers = _layers(networks[0])
        self._chain = layers if is_perceptron(layers) else None
        leaf = self.values.detach().requires_grad_()
        self.leaves = [leaf] if self._chain else [p for n in networks for p in n.parameters()]
        """The tensors that autograd differentiates with respect to."""
        gradients = [self.gradient] if self._chain else [g for row in self.gradient for g in _views(row, self._slots)]
        self._of_leaves = gradients
        """Views of `gradient`, one per leaf."""
        self._spectral = list(zip(*map(spectral_layers, networks), strict=True))
        """Each spectral layer of all networks."""
        self._batch_norms = [layer for network in networks for layer in _batch_norms(network)]
        self.rows = [nn.Parameter(row) for row in self.values]
        """The tensors that an optimiser steps: one per network. On a GPU few threads would update one long row."""
        for parameter, found in zip(self.rows, self.gradient, strict=True):
            parameter.grad = found

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """See the class. Each batch is independent of the others, also in BatchNorm."""
        if self._chain is None:
            return tuple(self._one_by_one(batch) for batch in batches)
        inputs = batches[0] if len(batches) == 1 else torch.cat(batches, dim=1)
        vectors = [
            (torch.stack([layer.left for layer in same]), torch.stack([layer.right for layer in same]))
            for same in self._spectral
        ]
        out = apply_perceptrons(self._chain, _views(self.leaves[0], self._slots), vectors, inputs)
        return out.split([batch.shape[1] for batch in batches], dim=1) if len(batches) > 1 else (out,)

    def freeze(self, replicate: int, frozen: bool = True) -> None:
        """Freezes (or unfreezes) the parameters and batch statistics of this replicate."""
        rows = {*self._frozen.tolist(), replicate} if frozen else {*self._frozen.tolist()} - {replicate}
        self._frozen = self._frozen.new_tensor(sorted(rows))
        self.networks[replicate].train(not frozen)

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Context for every write to `values`; frozen rows keep their values."""
        if not len(self._frozen):
            yield
            return
        self.gradient.index_fill_(0, self._frozen, 0.0)  # non-finite gradients would stay in the optimiser's moments
        before = self.values.index_select(0, self._frozen)
        yield
        self.values.index_copy_(0, self._frozen, before)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the block BatchNorm uses its running averages and does not change them."""
        were = [network.training for network in self.networks]
        for network in self.networks:
            network.eval()
        try:
            yield
        finally:
            for network, was in zip(self.networks, were, strict=True):
                network.train(was)

    @contextmanager
    def keeping_averages(self) -> Iterator[None]:
        """Within the block BatchNorm uses the batch's statistics and does not change its running averages."""
        for layer in self._batch_norms:
            layer.track_running_stats = False
        try:
            yield
        finally:
            for layer in self._batch_norms:
                layer.track_running_stats = True

    def iterate_spectral(self) -> None:
        """One power iteration of each spectral layer; frozen replicates keep their vectors."""
        for same in self._spectral:
            for layer in same:
                if layer.training:
                    layer.iterate()

    def state_dict(self, replicate: int) -> dict[str, Tensor]:
        """Parameters and buffers of one replicate under the names that its module gives them."""
        return {name: value.detach().clone() for name, value in self.networks[replicate].state_dict().items()}

    def load_state_dict(self, replicate: int, state: dict[str, Any]) -> None:
        """Strict inverse of `state_dict`. Raises RuntimeError for another architecture."""
        self.networks[replicate].load_state_dict(state)

    def store_gradient(self, found: Sequence[Tensor]) -> None:
        """Copies the gradients of the `leaves` into `gradient`."""
        torch._foreach_copy_(self._of_leaves, list(found))

    @torch.no_grad()
    def clip_gradient(self, limit: float) -> None:
        """Scales rows of `gradient` that are longer down to the Euclidean norm `limit`, like `clip_grad_norm_`.

        Norms are computed row by row, so that their rounding does not depend on the number of replicates.
        """
        norms = torch.stack([torch.linalg.vector_norm(row) for row in self.gradient])
        self.gradient.mul_((limit / (norms + 1e-6)).clamp(max=1.0)[:, None])

    def _one_by_one(self, inputs: Tensor) -> Tensor:
        return torch.stack([network(batch) for network, batch in zip(self.networks, inputs.unbind(), strict=True)])


def differentiate(stacks: Sequence[Stack], losses: Tensor, *, retain: bool) -> Tensor:
    """Puts ∂loss_i/∂values_i into row i of each stack's `gradient`, for losses [R], in one backward pass.

    Returns the Euclidean norms of the rows over all stacks, [R]. No other parameters get a gradient. `retain`: keep the
    graph for another backward pass.
    """
    leaves = [leaf for stack in stacks for leaf in stack.leaves]
    found = torch.autograd.grad(losses.sum(), leaves, retain_graph=retain)
    for stack in stacks:
        stack.store_gradient(found[: len(stack.leaves)])
        found = found[len(stack.leaves) :]
    norms: list[Tensor] = [torch.linalg.vector_norm(stack.gradient, dim=1) for stack in stacks]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)


def _drop_output_bias(network: nn.Module) -> None:
    """Removes the bias of the last layer; no-op if the layer's type is unknown or it has no bias."""
    last = [layer for layer in _layers(network) if not isinstance(layer, nn.Flatten)][-1]
    if isinstance(last, nn.Linear | nn.Conv2d):
        last.register_parameter("bias", None)


@contextmanager
def using_batch_statistics(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block BatchNorm uses the batch's statistics in any mode and does not change its running averages."""
    norms = [(layer, layer.training) for network in networks for layer in _batch_norms(network)]
    for layer, _ in norms:
        layer.train()
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, was in norms:
            layer.track_running_stats = True
            layer.train(was)


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running averages."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


def _layers(network: nn.Module) -> list[nn.Module]:
    """The layers of a chain in order; any other network is one layer."""
    if isinstance(network, nn.Sequential):
        return [layer for part in network for layer in _layers(part)]
    return [network]


def _slots(network: nn.Module) -> dict[str, torch.Size]:
    """Name and shape of each parameter, in their order within a row."""
    return {name: parameter.shape for name, parameter in network.named_parameters()}


def _views(values: Tensor, slots: dict[str, torch.Size]) -> list[Tensor]:
    """Views of [..., P] with the shapes of the parameters, [..., *shape]."""
    sizes = [math.prod(shape) for shape in slots.values()]
    parts = values.split([*sizes, values.shape[-1] - sum(sizes)], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, slots.values(), strict=False)]


def _move(network: nn.Module, row: Tensor) -> None:
    """Makes the network's parameters views of `row`."""
    slots = _slots(network)
    for name, view in zip(slots, _views(row, slots), strict=True):
        owner_name, _, leaf = name.rpartition(".")
        owner = network.get_submodule(owner_name)
        view.copy_(getattr(owner, leaf).detach())
        setattr(owner, leaf, nn.Parameter(view))
