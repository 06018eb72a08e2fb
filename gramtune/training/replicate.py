"""One random initialisation of a trial: its networks, optimisers and random streams, and one training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gramtune.components import Shape, View
from gramtune.pixels import to_float
from gramtune.training.config import TrialConfig
from gramtune.training.optimizer import load_state
from gramtune.training.seeds import stream


class Diverged(ArithmeticError):
    """A loss or gradient is not finite; the message names it. Raised before the optimiser moves."""


class _Update(NamedTuple):
    label: str
    loss: Tensor
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer


class Replicate:
    """Networks, optimisers and random streams of one initialisation. Raises ValueError if the shapes do not fit."""

    def __init__(self, config: TrialConfig, seed: int, train: Tensor, device: torch.device) -> None:
        self.seed = seed
        self.generator_steps = 0
        self.diverged: str | None = None
        self._config, self._train, self._device = config, train, device
        self._networks = build_networks(config, config.data.shape)
        for label, network in self._networks.items():
            network.to_empty(device="cpu")
            config.network.initialise(network, stream(seed, f"initialise {label}"))
            network.to(device)
        self._gamma = list(self.generator.parameters())
        self._theta = [p for label, n in self._networks.items() if label != "generator" for p in n.parameters()]
        self._optimizers = {"generator": config.optimizer.for_generator(self._gamma)}
        if self._theta:
            self._optimizers["critic"] = config.optimizer.for_critic(self._theta)
        self._streams = {purpose: stream(seed, purpose, device) for purpose in ("batches", "noise")}

    @property
    def generator(self) -> nn.Module:
        """G_γ."""
        return self._networks["generator"]

    def advance(self, steps: int) -> dict[str, float]:
        """Trains for `steps` generator steps; returns losses and traces, each the mean over these steps.

        On divergence `diverged` says why, and later calls do nothing. The offending update is not made: in a joint step
        neither network moves; where steps alternate, the network whose loss is at fault stays, while the critic may
        have been clamped and have taken earlier steps of the same generator step. The traces are those of the
        generator steps that were completed, so never NaN.
        """
        sums: dict[str, Tensor] = {}
        taken = 0
        while self.diverged is None and taken < steps:
            try:
                traces = self._step()
            except Diverged as error:
                self.diverged = f"{error} at step {self.generator_steps + 1}"
                break
            for key, value in traces.items():
                sums[key] = sums[key] + value if key in sums else value
            taken += 1
            self.generator_steps += 1
        return {key: total.item() / taken for key, total in sums.items()}

    def sample(self, n: int, purpose: str = "evaluate", chunk: int = 512) -> Tensor:
        """n generated samples [n, *shape], the same for the same purpose at every call, independent of training.

        BatchNorm uses its running averages, so a sample does not depend on those drawn with it.
        """
        noise = self._config.network.noise(n, stream(self.seed, purpose, self._device))
        with _evaluating(self.generator), torch.inference_mode():
            return torch.cat([self.generator(part) for part in noise.split(chunk)])

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on as if nothing had happened; tensors and plain values."""
        return {
            "seed": self.seed,
            "generator_steps": self.generator_steps,
            "diverged": self.diverged,
            "networks": {label: network.state_dict() for label, network in self._networks.items()},
            "optimizers": {label: optimizer.state_dict() for label, optimizer in self._optimizers.items()},
            "streams": {purpose: rng.get_state() for purpose, rng in self._streams.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Strict inverse of `state_dict`. Raises ValueError for another seed or objective, RuntimeError for shapes."""
        if state["seed"] != self.seed:
            raise ValueError(f"the checkpoint is of seed {state['seed']}, this replicate has seed {self.seed}")
        if state["networks"].keys() != self._networks.keys():
            theirs, ours = (", ".join(labels) for labels in (state["networks"], self._networks))
            raise ValueError(f"the checkpoint holds {theirs}, this configuration has {ours}")
        self.generator_steps, self.diverged = state["generator_steps"], state["diverged"]
        for label, network in self._networks.items():
            network.load_state_dict(state["networks"][label])
        for label, optimizer in self._optimizers.items():
            load_state(optimizer, state["optimizers"][label])
        for purpose, rng in self._streams.items():
            rng.set_state(state["streams"][purpose].cpu())

    def _step(self) -> dict[str, Tensor]:
        """One generator step, with the critic steps that belong to it. Raises Diverged."""
        if self._config.objective.joint:
            return self._joint_step()
        traces: dict[str, Tensor] = {}
        for _ in range(self._config.objective.critic_steps(self.generator_steps)):
            traces |= self._critic_step()
        return traces | self._generator_step()

    def _joint_step(self) -> dict[str, Tensor]:
        """Algorithm 1: one forward pass, both gradients, then θ and γ together."""
        losses = self._config.objective.losses(self._view(self._real()), self._view(self._fake()))
        updates = [_Update("generator", losses.generator, self._gamma, self._optimizers["generator"])]
        if losses.critic is not None:
            updates.insert(0, _Update("critic", losses.critic, self._theta, self._optimizers["critic"]))
        return _apply(updates) | _detached(losses.traces)

    def _critic_step(self) -> dict[str, Tensor]:
        self._clamp_critic()
        with torch.no_grad():
            fake = self._fake()
        losses = self._config.objective.losses(self._view(self._real()), self._view(fake))
        assert losses.critic is not None, "an objective without critic takes joint steps"
        update = _Update("critic", losses.critic, self._theta, self._optimizers["critic"])
        return _apply([update]) | _detached(losses.traces)

    def _generator_step(self) -> dict[str, Tensor]:
        losses = self._config.objective.losses(self._view(self._real()), self._view(self._fake()))
        return _apply([_Update("generator", losses.generator, self._gamma, self._optimizers["generator"])])

    def _real(self) -> Tensor:
        size = (self._config.training.batch_size,)
        index = torch.randint(len(self._train), size, generator=self._streams["batches"], device=self._device)
        return to_float(self._train[index])

    def _fake(self) -> Tensor:
        noise = self._config.network.noise(self._config.training.batch_size, self._streams["noise"])
        fake: Tensor = self.generator(noise)
        return fake

    def _view(self, samples: Tensor) -> View:
        """Data and generated samples pass through the critic separately: separate batch statistics."""
        if "critic" not in self._networks:
            return View(samples)
        features = self._networks["critic"](samples)
        return View(samples, features, self._networks["decoder"](features) if "decoder" in self._networks else None)

    @torch.no_grad()
    def _clamp_critic(self) -> None:
        if (bound := self._config.objective.critic_clamp) is not None:
            for parameter in self._networks["critic"].parameters():
                parameter.clamp_(-bound, bound)


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


def _apply(updates: list[_Update]) -> dict[str, Tensor]:
    """Takes every gradient before any optimiser moves, each with respect to its own parameters alone.

    Returns the losses. Raises Diverged, with all parameters untouched, if a loss or a gradient is not finite.
    """
    last = len(updates) - 1
    gradients = [torch.autograd.grad(u.loss, u.parameters, retain_graph=i < last) for i, u in enumerate(updates)]
    for update, gradient in zip(updates, gradients, strict=True):
        if not torch.isfinite(update.loss):
            raise Diverged(f"{update.label} loss is {update.loss.item()}")
        if not torch.isfinite(norm := torch.nn.utils.get_total_norm(gradient)):
            raise Diverged(f"gradient norm of the {update.label} is {norm.item()}")
    for update, gradient in zip(updates, gradients, strict=True):
        for parameter, value in zip(update.parameters, gradient, strict=True):
            parameter.grad = value
        update.optimizer.step()
    return {f"loss/{update.label}": update.loss.detach() for update in updates}


def _detached(traces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"trace/{key}": value.detach() for key, value in traces.items()}


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    module.eval()
    try:
        yield
    finally:
        module.train()
