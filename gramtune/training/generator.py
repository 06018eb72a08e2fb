"""A trained generator out of a checkpoint, without data, optimisers or critic."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks
from gramtune.training.trainer import CheckpointError, reading_checkpoint


def load_generator(config: TrialConfig, path: Path, replicate: int) -> nn.Module:
    """G_γ of one replicate, on the CPU, in eval mode: [B, noise_dim] → [B, *shape].

    Raises CheckpointError if the file is damaged or of another configuration.
    """
    generator = build_networks(config, config.data.shape)["generator"].to_empty(device="cpu")
    with reading_checkpoint(path):
        replicates = torch.load(path, map_location="cpu", weights_only=True)["trainer"]["replicates"]
        if replicate >= len(replicates):
            raise CheckpointError(f"checkpoint {path}: has {len(replicates)} replicates, no number {replicate}")
        generator.load_state_dict(replicates[replicate]["networks"]["generator"])
    return generator.eval()
