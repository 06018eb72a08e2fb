"""Random weights for pytorch-fid's Inception network in the official layout; the real ones cannot be shipped."""

from __future__ import annotations

import torch
from pytorch_fid import inception
from torch import Tensor, nn
from torchvision.models import inception_v3


def random_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict, scaled so that features keep their size through 20 layers."""
    network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    for i, (channels, pool) in enumerate(((192, 32), (256, 64), (288, 64))):
        setattr(network, f"Mixed_5{'bcd'[i]}", inception.FIDInceptionA(channels, pool_features=pool))
    for letter, channels in zip("bcde", (128, 160, 160, 192), strict=True):
        setattr(network, f"Mixed_6{letter}", inception.FIDInceptionC(768, channels_7x7=channels))
    network.Mixed_7b, network.Mixed_7c = inception.FIDInceptionE_1(1280), inception.FIDInceptionE_2(2048)
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=rng)
    return network.state_dict()
