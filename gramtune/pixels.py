"""The two representations of images: uint8 in memory and on disk, float in [−1, 1] in the networks."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(samples: Tensor) -> Tensor:
    """uint8 images → float32 in [−1, 1]; float samples (point sets) are returned as they are."""
    return samples.float().div_(127.5).sub_(1) if samples.dtype == torch.uint8 else samples


def to_uint8(samples: Tensor) -> Tensor:
    """Float images in [−1, 1] → uint8, rounded to nearest, as in a PNG file."""
    return samples.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int = 8, padding: int = 1) -> Tensor:
    """uint8 [N, C, H, W] tiled row by row with a mid-grey border: uint8 [C, rows·(H+p)+p, columns·(W+p)+p]."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    canvas = torch.full((c, rows * (h + padding) + padding, columns * (w + padding) + padding), 128, dtype=torch.uint8)
    for i, image in enumerate(images):
        top, left = padding + i // columns * (h + padding), padding + i % columns * (w + padding)
        canvas[:, top : top + h, left : left + w] = image
    return canvas
