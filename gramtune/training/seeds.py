"""Random streams: every draw uses a generator derived from one seed and a purpose."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` whose state depends only on `seed` and `purpose`."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    rng = torch.Generator(device)
    rng.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return rng
