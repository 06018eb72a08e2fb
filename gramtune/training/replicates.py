"""Trains the R random initialisations of a trial together: networks, optimisers, random streams, training steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gramtune.components import Context, Losses, View, losses_function
from gramtune.pixels import to_float
from gramtune.training.average import WeightAverage
from gramtune.training.batches import BATCHES
from gramtune.training.config import TrialConfig
from gramtune.training.graphs import Graphs, Traces
from gramtune.training.networks import Stack, build_networks, differentiate, using_batch_statistics
from gramtune.training.optimizer_state import load_rows, row, set_rate
from gramtune.training.seeds import stream
from gramtune.training.sums import Sums

_STREAMS = ("batches", "noise", "critic")
_FLIPS = "flips"
"""The stream of `training.horizontal_flips`; absent without them."""
_READ_CODES = ("generator", "decoder", "code_critic")
"""Roles whose networks read flat vectors, not samples."""

_Run = Callable[[str, Callable[[], Traces]], Traces]
"""Runs a named step."""


@dataclass(frozen=True)
class _Update:
    """A loss per replicate, [R], and the networks and optimiser that minimise it."""

    label: str
    losses: Tensor
    stacks: list[Stack]
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class _Generated:
    """A minibatch of generated samples of each replicate."""

    noise: Tensor  # [R, B, h]
    samples: Tensor  # [R, B, *shape]


class Replicates:
    """R initialisations of one configuration. Raises ValueError if shapes do not fit, or a batch exceeds an epoch.

    Each replicate has its own seed, batches and noise, and does not depend on the others (on a CPU bit for bit). A
    replicate that diverges is frozen while the others continue.
    """

    def __init__(self, config: TrialConfig, seeds: Sequence[int], train: Tensor, device: torch.device) -> None:
        self.seeds = tuple(seeds)
        self.generator_steps = [0] * len(self.seeds)
        """Completed steps of each replicate; equal for all that have not diverged."""
        self.diverged: list[str | None] = [None] * len(self.seeds)
        """Why and when each replicate diverged; None if it has not."""
        self._config, self._train, self._device = config, train, device
        self.stacks = self._initialised()
        """The networks of all replicates, by role: generator, critic, decoder, …"""
        players = config.objective.players(tuple(self.stacks))
        self._moved = {player: [self.stacks[role] for role in roles] for player, roles in players.items()}
        self._optimizers = {
            player: (config.optimizer.for_critic if player == "critic" else config.optimizer.for_generator)(
                [row for stack in moved for row in stack.rows]
            )
            for player, moved in self._moved.items()
        }
        self._losses = losses_function(config.objective)
        initial = config.objective.state
        self._state = {name: torch.full((len(self),), value, device=device) for name, value in initial.items()}
        ema = config.training.ema
        self._average = WeightAverage(self.stacks["generator"], ema) if ema is not None else None
        purposes = (*_STREAMS, *([_FLIPS] if config.training.horizontal_flips else []))
        self._streams = [{purpose: stream(seed, purpose, device) for purpose in purposes} for seed in self.seeds]
        drawing, size = BATCHES[config.training.sampling], config.training.batch_size
        self._batches = drawing(len(train), size, [own["batches"] for own in self._streams])
        self.graphs = Graphs([rng for own in self._streams for rng in own.values()]) if device.type == "cuda" else None
        """What runs the steps on a GPU; None: each step is run and checked by itself."""
        self._live = torch.ones(len(self), dtype=torch.bool, device=device)
        self._watching, self._sum_of_checked = True, torch.zeros((), device=device)

    def __len__(self) -> int:
        return len(self.seeds)

    def network(self, label: str, i: int) -> nn.Module:
        """The generator, critic or decoder of replicate i; shares the trained parameters."""
        return self.stacks[label].networks[i]

    def advance(self, steps: int) -> list[dict[str, float]]:
        """Trains for `steps` generator steps; returns each replicate's losses and traces, the mean over these steps.

        If a replicate diverges, `diverged` gives the reason, and the replicate no longer changes. The non-finite update
        is not applied. In a joint step neither network moves. If steps alternate, the network with the non-finite loss
        does not move, but the critic may already have been clamped and have taken earlier steps of the same generator
        step. Traces cover completed generator steps only, so they are never NaN.
        """
        before, sums, left = tuple(self.generator_steps), Sums(), steps
        while left and not all(self.diverged):
            taken = left if self.graphs is None else min(left, self.graphs.steps_between_checks)
            if self.graphs is None or not self._advance_unwatched(taken, sums):
                self._advance_watched(taken, sums)
            left -= taken
        return sums.means([now - then for now, then in zip(self.generator_steps, before, strict=True)])

    def sample(self, n: int, purpose: str = "evaluate", chunk: int = 512, average: bool = False) -> Tensor:
        """n generated samples of each replicate, [R, n, *shape]; the same purpose gives the same noise at every call.

        `average`: use the averaged generators, if there are any. BatchNorm uses its running averages, so a sample does
        not depend on the others, unless `training.eval_batch_statistics` is on.
        """
        streams = [stream(seed, purpose, self._device) for seed in self.seeds]
        noise = torch.stack([self._config.network.noise(n, rng) for rng in streams])
        generator, training = self._generator(average), self._config.training
        with ExitStack() as contexts:
            contexts.enter_context(torch.inference_mode())
            contexts.enter_context(generator.evaluating())
            parts: Sequence[Tensor] = noise.split(chunk, dim=1)
            if training.eval_batch_statistics:
                contexts.enter_context(using_batch_statistics(generator.networks))
                parts = noise.tensor_split(training.eval_batches(n), dim=1)
            return torch.cat([generator(part)[0] for part in parts], dim=1)

    def views(self, n: int, purpose: str, average: bool = False) -> tuple[View, View]:
        """n data and n generated samples of each replicate with their critic features; training is not affected.

        `average`: use the averaged generators, if there are any. The same purpose gives the same data and noise at
        every call. BatchNorm as in `sample`.
        """
        streams = [stream(seed, purpose, self._device) for seed in self.seeds]
        index = [torch.randint(len(self._train), (n,), generator=rng, device=self._device) for rng in streams]
        noise = torch.stack([self._config.network.noise(n, rng) for rng in streams])
        with ExitStack() as contexts:
            generator = self._generator(average)
            for stack in {generator, *self.stacks.values()}:
                contexts.enter_context(stack.evaluating())
            contexts.enter_context(torch.inference_mode())
            (generated,) = generator(noise)
            real, fake = self._views(to_float(self._train[torch.stack(index)]), generated)
            return real, fake

    def state_dict(self, i: int) -> dict[str, Any]:
        """The complete state of replicate i: training resumes from it bit for bit."""
        return {
            "seed": self.seeds[i],
            "generator_steps": self.generator_steps[i],
            "diverged": self.diverged[i],
            "networks": {label: stack.state_dict(i) for label, stack in self.stacks.items()},
            "optimizers": {label: row(optimizer, i, len(self)) for label, optimizer in self._optimizers.items()},
            "streams": {purpose: rng.get_state() for purpose, rng in self._streams[i].items()},
            "batches": self._batches.state_dict(i),
            "state": {name: values[i].clone() for name, values in self._state.items()},
        } | ({"average": self._average.state_dict(i)} if self._average else {})

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Strict inverse of `state_dict` of all replicates.

        Raises ValueError for other seeds or another objective, RuntimeError for other shapes.
        """
        for i, (state, seed) in enumerate(zip(states, self.seeds, strict=True)):
            if state["seed"] != seed:
                raise ValueError(f"the checkpoint is of seed {state['seed']}, this replicate has seed {seed}")
            self._load(i, state)
        for label, optimizer in self._optimizers.items():
            load_rows(optimizer, [state["optimizers"][label] for state in states])

    def end(self, i: int, reason: str | None) -> None:
        """Freezes replicate i as diverged for this reason; None: marks it as not diverged."""
        self.diverged[i] = reason
        self._live[i] = reason is None
        for stack in (*self.stacks.values(), *([self._average.stack] if self._average else [])):
            stack.freeze(i, reason is not None)
        if self.graphs is not None:
            self.graphs.forget()

    def _load(self, i: int, state: Mapping[str, Any]) -> None:
        if state["networks"].keys() != self.stacks.keys():
            theirs, ours = (", ".join(labels) for labels in (state["networks"], self.stacks))
            raise ValueError(f"the checkpoint holds {theirs}, this configuration has {ours}")
        if ("average" in state) != (self._average is not None):
            raise ValueError("the checkpoint and this configuration differ in whether training.ema is set")
        self.generator_steps[i] = state["generator_steps"]
        if self._average is not None:
            self._average.load_state_dict(i, state["average"])
        for label, stack in self.stacks.items():
            stack.load_state_dict(i, state["networks"][label])
        for purpose, stored in state["streams"].items():  # checkpoints of earlier versions have no stream `critic`
            self._streams[i][purpose].set_state(stored.cpu())
        self._batches.load_state_dict(i, state.get("batches", {}))  # absent in checkpoints of earlier versions
        for name, values in self._state.items():
            values[i] = state["state"][name]
        self.end(i, state["diverged"])

    def _initialised(self) -> dict[str, Stack]:
        stacks: dict[str, list[nn.Module]] = {}
        for seed in self.seeds:
            for label, network in build_networks(self._config, self._config.data.shape).items():
                network.to_empty(device="cpu")
                self._config.network.initialise(network, stream(seed, f"initialise {label}"))
                stacks.setdefault(label, []).append(network.to(self._device))
        return {label: Stack(networks) for label, networks in stacks.items()}

    def _advance_watched(self, steps: int, sums: Sums) -> None:
        """Checks the losses and gradients of each step before any update."""
        for _ in range(steps):
            if all(self.diverged):
                return
            self._count(self._step(lambda _, step: step()), sums)

    def _advance_unwatched(self, steps: int, sums: Sums) -> bool:
        """Replays CUDA graphs; checks finiteness once per block, to avoid synchronising with the GPU.

        Returns False, with the state restored, on divergence.
        """
        assert self.graphs is not None
        before, sums_before = [self.state_dict(i) for i in range(len(self))], sums.copy()
        self._sum_of_checked.zero_()
        self._watching = False
        try:
            for _ in range(steps):
                self._count(self._step(self.graphs.run), sums)
        finally:
            self._watching = True
        if math.isfinite(self._sum_of_checked.item()):
            return True
        self.load_state_dict(before)
        sums.load(sums_before)
        return False

    def _count(self, traces: Traces, sums: Sums) -> None:
        live = [i for i, reason in enumerate(self.diverged) if reason is None]
        sums.add(traces, live)
        for i in live:
            self.generator_steps[i] += 1

    def _step(self, run: _Run) -> dict[str, Tensor]:
        """One generator step with its critic steps: losses and traces, [R] each."""
        self._set_rates(max(self.generator_steps))
        if self._average is not None:
            self._average.prepare(max(self.generator_steps))
        objective = self._config.objective
        if objective.joint:
            step = self._sequential_step if objective.sequential else self._joint_step
            return self._on_new_batch(run, "joint", step)
        traces: dict[str, Tensor] = {}
        for _ in range(objective.critic_steps(max(self.generator_steps))):
            traces |= self._on_new_batch(run, "critic", self._critic_step)
        return self._on_new_batch(run, "generator", self._generator_step) | traces

    def _on_new_batch(self, run: _Run, label: str, step: Callable[[], Traces]) -> Traces:
        self._batches.prepare()
        return run(label, step)

    def _set_rates(self, step: int) -> None:
        """Sets the learning rates of a training step, outside the recorded graph, which reads them."""
        for label, optimizer in self._optimizers.items():
            if self._config.optimizer.scheduled(label):
                set_rate(optimizer, self._config.optimizer.rate(label, step, self._config.training.steps))

    def _joint_step(self) -> dict[str, Tensor]:
        """Algorithm 1: one forward pass, all gradients, then θ and γ together."""
        self._iterate_spectral()
        losses = self._compute(self._generated())
        updates = [self._update("critic", losses.critic)] if losses.critic is not None else []
        applied = self._apply([*updates, *self._generator_updates(losses)], losses)
        self._update_average()
        return applied | _detached(losses.traces)

    def _sequential_step(self) -> dict[str, Tensor]:
        """Steps θ, then γ with the new θ, on the same batch. If γ's loss is not finite, θ has already moved."""
        real, generated = self._real(), self._generated()
        before = self._compute(_Generated(generated.noise, generated.samples.detach()), real, for_generator=False)
        assert before.critic is not None, "an objective without critic takes joint steps"
        applied = self._apply([self._update("critic", before.critic)], before)
        after = self._compute(generated, real, for_critic=False)
        applied |= self._apply(self._generator_updates(after), after)
        self._update_average()
        return applied | _detached(before.traces)

    def _critic_step(self) -> dict[str, Tensor]:
        self._clamp_critic()
        self._iterate_spectral()
        with torch.no_grad():
            generated = self._generated()
        losses = self._compute(generated, for_generator=False)
        assert losses.critic is not None, "an objective without critic takes joint steps"
        return self._apply([self._update("critic", losses.critic)], losses) | _detached(losses.traces)

    def _generator_step(self) -> dict[str, Tensor]:
        losses = self._compute(self._generated(), for_critic=False)
        applied = self._apply(self._generator_updates(losses), losses)
        self._update_average()
        return applied | _detached(losses.traces)

    def _generator_updates(self, losses: Losses) -> list[_Update]:
        assert losses.generator is not None, "a generator step needs the generator's loss"
        others = [self._update(player, loss) for player, loss in losses.others.items()]
        return [self._update("generator", losses.generator), *others]

    def _update_average(self) -> None:
        if self._average is not None:
            self._average.update()

    def _generator(self, average: bool) -> Stack:
        return self._average.stack if average and self._average is not None else self.stacks["generator"]

    def _update(self, label: str, losses: Tensor) -> _Update:
        return _Update(label, losses, self._moved[label], self._optimizers[label])

    def _real(self) -> Tensor:
        real = to_float(self._train[self._batches.indices()])
        if not self._config.training.horizontal_flips:
            return real
        size, streams = real.shape[1], [rngs[_FLIPS] for rngs in self._streams]
        flipped = torch.stack([torch.rand(size, generator=rng, device=rng.device) < 0.5 for rng in streams])
        return torch.where(flipped[:, :, None, None, None], real.flip(-1), real)

    def _generated(self) -> _Generated:
        size = self._config.training.batch_size
        noise = torch.stack([self._config.network.noise(size, rngs["noise"]) for rngs in self._streams])
        return _Generated(noise, self.stacks["generator"](noise)[0])

    def _compute(
        self,
        generated: _Generated,
        batch: Tensor | None = None,
        *,
        for_critic: bool = True,
        for_generator: bool = True,
    ) -> Losses:
        """The objective's losses. `batch`: data samples, [R, B, *shape]; None for the current minibatch."""
        real, fake = self._views(self._real() if batch is None else batch, generated.samples)
        context = Context(
            {role: partial(self._at_further_points, role) for role in self.stacks},
            self._uniform,
            partial(self._further_generated, for_generator),
            generated.noise,
            self._state,
            for_critic,
            for_generator,
        )
        return self._losses(real, fake, context)

    def _at_further_points(self, role: str, points: Tensor) -> Tensor:
        stack = self.stacks[role]
        with stack.keeping_averages():
            (out,) = stack(points if role in _READ_CODES else points.unflatten(2, self._config.data.shape))
        return out.flatten(2)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.stack([torch.rand(shape, generator=rngs["critic"], device=self._device) for rngs in self._streams])

    def _further_generated(self, for_generator: bool) -> View:
        with ExitStack() as contexts:
            for stack in self.stacks.values():
                contexts.enter_context(stack.keeping_averages())
            with torch.set_grad_enabled(for_generator):
                samples = self._generated().samples
            return self._views(samples)[0]

    def _views(self, *batches: Tensor) -> list[View]:
        """The views of these batches. Each passes through the critic separately, with its own batch statistics."""
        sides: list[tuple[Tensor, ...]] = [(batch.flatten(2),) for batch in batches]
        if "critic" in self.stacks:
            features = self.stacks["critic"](*batches)
            sides = [(*side, own) for side, own in zip(sides, features, strict=True)]
            if "decoder" in self.stacks:
                decoded = self.stacks["decoder"](*features)
                sides = [(*side, own.flatten(2)) for side, own in zip(sides, decoded, strict=True)]
        return [View(*side) for side in sides]

    def _iterate_spectral(self) -> None:
        for stack in self._moved.get("critic", []):
            stack.iterate_spectral()

    @torch.no_grad()
    def _clamp_critic(self) -> None:
        if (bound := self._config.objective.critic_clamp) is not None:
            with self.stacks["critic"].updating():
                self.stacks["critic"].values.clamp_(-bound, bound)

    def _apply(self, updates: list[_Update], losses: Losses) -> dict[str, Tensor]:
        """Computes every gradient before any optimiser steps, each with respect to its own parameters only.

        Returns the losses. Replicates with a non-finite loss or gradient are frozen first.
        """
        checked = {f"{update.label} loss is": update.losses.detach() for update in updates}
        for update in updates:
            norms = differentiate(update.stacks, update.losses, retain=update is not updates[-1])
            checked[f"gradient norm of the {update.label} is"] = norms
        self._freeze_diverged(checked)
        if (limit := self._config.training.clip_norm) is not None:
            for stack in (stack for update in updates for stack in update.stacks):
                stack.clip_gradient(limit)
        for update in updates:
            with _updating(update.stacks):
                update.optimizer.step()
        for name, value in losses.state.items():
            self._state[name].copy_(value.detach().where(self._live, self._state[name]))
        return {f"loss/{update.label}": update.losses.detach() for update in updates}

    def _freeze_diverged(self, checked: dict[str, Tensor]) -> None:
        values = torch.stack(list(checked.values()))
        if not self._watching:
            self._sum_of_checked += values.where(self._live, 0).sum()
            return
        if math.isfinite(
            values.sum().item()
        ):  # one GPU call in the usual case; if the sum overflows, the loop finds nothing
            return
        for i, column in enumerate(values.isfinite().T.tolist()):
            if not all(column) and self.diverged[i] is None:
                k = column.index(False)
                self.end(i, f"{list(checked)[k]} {values[k, i].item()} at step {self.generator_steps[i] + 1}")


@contextmanager
def _updating(stacks: Sequence[Stack]) -> Iterator[None]:
    with ExitStack() as contexts:
        for stack in stacks:
            contexts.enter_context(stack.updating())
        yield


def _detached(traces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"trace/{key}": value.detach() for key, value in traces.items()}
