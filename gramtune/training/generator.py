"""Loads trained generators from a checkpoint, without data, optimisers or critic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks, using_batch_statistics
from gramtune.training.seeds import stream
from gramtune.training.trainer import CheckpointError, reading_checkpoint

_CHUNK = 512


class Generators(NamedTuple):
    """The generators in a checkpoint, by replicate: on the CPU, in eval mode, [B, noise_dim] → [B, *shape]."""

    networks: dict[int, nn.Module]
    steps: dict[int, int]
    """Training steps of each."""
    diverged: dict[int, str]
    """Why the replicates that are missing in `networks` diverged."""


def load_generators(config: TrialConfig, path: Path, first: int = 0) -> Generators:
    """All generators of a checkpoint, numbered from `first`. Raises CheckpointError if the file is damaged or does not
    fit the configuration."""
    with reading_checkpoint(path):
        trainer = torch.load(path, map_location="cpu", weights_only=True)["trainer"]
        states: dict[int, dict[str, Any]] = dict(enumerate(trainer["replicates"], start=first))
        live = {i: _generator(config, state) for i, state in states.items() if state["diverged"] is None}
        diverged = {i: state["diverged"] for i, state in states.items() if i not in live}
        return Generators(live, dict.fromkeys(live, trainer["step"]), diverged)


def load_generator(config: TrialConfig, path: Path, replicate: int) -> nn.Module:
    """G_γ of one replicate, on the CPU, in eval mode: [B, noise_dim] → [B, *shape].

    Raises CheckpointError if the file is damaged or of another configuration.
    """
    with reading_checkpoint(path):
        replicates = torch.load(path, map_location="cpu", weights_only=True)["trainer"]["replicates"]
        if replicate >= len(replicates):
            rule = f"has {len(replicates)} replicates, numbered from 0"
            raise CheckpointError(f"checkpoint {path}: {rule}; there is no replicate {replicate}")
        return _generator(config, replicates[replicate])


def draw_samples(
    config: TrialConfig, generator: nn.Module, n: int, seed: int, purpose: str, device: torch.device
) -> Tensor:
    """n samples [n, *shape] of a replicate with this seed. Purpose `evaluate` gives the samples that the trial used."""
    noise = config.network.noise(n, stream(seed, purpose, device))
    generator = generator.to(device)
    with torch.inference_mode():
        if not config.training.eval_batch_statistics:
            return torch.cat([generator(part) for part in noise.split(_CHUNK)])
        with using_batch_statistics([generator]):
            return torch.cat([generator(part) for part in noise.tensor_split(config.training.eval_batches(n))])


def _generator(config: TrialConfig, state: Mapping[str, Any]) -> nn.Module:
    generator = build_networks(config, config.data.shape)["generator"].to_empty(device="cpu")
    generator.load_state_dict(state["average"] if config.training.averaged else state["networks"]["generator"])
    return generator.eval()
