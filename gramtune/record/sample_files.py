"""Writes samples to files: one PNG with all samples, a folder of PNGs, or a tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from safetensors.torch import save
from torch import Tensor

from gramtune.components import Kind, kind_of
from gramtune.errors import Issue, SpecError
from gramtune.io import write_atomically
from gramtune.pixels import grid, to_uint8


def check_target(out: Path, kind: Kind) -> None:
    """Raises SpecError if samples of that kind cannot be written to `out`."""
    forms = "grid.png, a folder for one PNG each, or samples.safetensors"
    if out.suffix not in ("", ".png", ".safetensors"):
        raise SpecError([Issue("--out", f"{out} should be {forms}")])
    if kind == "points" and out.suffix != ".safetensors":
        raise SpecError([Issue("--out", f"{out}: points are not images; write samples.safetensors")])
    if out.is_dir() and (out.suffix or any(out.iterdir())):
        raise SpecError([Issue("--out", f"{out} is a folder with files in it; choose a new one")])


def write_samples(samples: Tensor, out: Path, about: Mapping[str, str]) -> None:
    """Writes samples [n, *shape] (images in [−1, 1]) to one PNG, a folder of PNGs, or a tensor `samples` (uint8).

    Raises OSError if it cannot be written.
    """
    content = (to_uint8(samples) if kind_of(samples.shape[1:]) == "image" else samples).cpu()
    (out if not out.suffix else out.parent).mkdir(parents=True, exist_ok=True)
    if out.suffix == ".safetensors":
        packed = save({"samples": content.contiguous()}, dict(about))
        write_atomically(out, lambda path: path.write_bytes(packed))
    elif out.suffix == ".png":
        picture = to_image(grid(content, columns=math.ceil(math.sqrt(len(content)))))
        write_atomically(out, lambda path: picture.save(path))
    else:
        for i, image in enumerate(content):
            to_image(image).save(out / f"{i:05d}.png")


def to_image(pixels: Tensor) -> Image.Image:
    """uint8 [1 or 3, H, W] → a Pillow image."""
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
