"""Decodes image files to one uint8 tensor and caches it; shared by `image_folder` and `celeba`."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gramtune.components import Unavailable
from gramtune.io import write_atomically

Parts = tuple[Tensor, Tensor]
"""The training and the held-out images, each uint8 [N, C, S, S]."""
_NAMED = 20
"""Most files that a message names."""
CACHE = "decoded"
"""Folder of decoded data sets under the data root; safe to delete."""
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""The exceptions that Pillow raises for damaged files, files that are no images, and images that are too large."""


def decode(folder: Path, names: Sequence[str], size: int, channels: int) -> Tensor:
    """The named files, shorter side resized to `size` and centre-cropped: uint8 [N, channels, size, size].

    Raises Unavailable, one line, if any of them is damaged or missing.
    """
    images = torch.empty(len(names), channels, size, size, dtype=torch.uint8)
    issues: dict[str, str] = {}
    doubts: dict[str, str] = {}
    now = threading.local()

    def fill(index: int) -> None:
        now.name = names[index]
        try:
            images[index] = _decode(folder / names[index], size, channels)
        except _UNREADABLE as error:
            issues[names[index]] = next(iter(str(error).splitlines()), type(error).__name__)

    def named(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if not issubclass(category, DeprecationWarning):  # Pillow warns of damaged EXIF data and of very large images
            doubts[getattr(now, "name", "")] = next(iter(str(message).splitlines()), category.__name__)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without Python's lock
        warnings.simplefilter("always")
        warnings.showwarning = named  # type: ignore[assignment]  # its other parameters do not matter
        list(pool.map(fill, range(len(names))))
    if issues:
        why = listing([f"{name} ({why})" for name, why in sorted(issues.items())])
        raise Unavailable(
            f"{len(issues)} of {len(names)} images under {folder} cannot be read: {why}; replace or remove them"
        )
    if doubts:
        why = listing([f"{name} ({why})" for name, why in sorted(doubts.items())])
        warnings.warn(f"{len(doubts)} of {len(names)} images under {folder} may be damaged: {why}", stacklevel=2)
    return images


def listing(texts: Sequence[str]) -> str:
    """The first texts and the number of the others."""
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more


def _decode(path: Path, size: int, channels: int) -> Tensor:
    """Reads one image: applies the EXIF rotation, resizes the shorter side to `size` and crops the centre.

    uint8 [channels, size, size].
    """
    with Image.open(path) as file:
        if file.mode.startswith(("I", "F")):  # Pillow would clip them to white
            raise ValueError(f"its pixels are not of 8 bits (Pillow's mode {file.mode})")
        upright = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)  # antialiased
    return torch.from_numpy(np.array(image)).view(size, size, channels).permute(2, 0, 1)


def cached(root: Path, key: str, make: Callable[[], Parts]) -> Parts:
    """Returns what `make` returns; reads it from a file under `root` if an earlier call wrote one.

    The file is mapped, not read: all processes of a machine share its pages. Raises Unavailable if `root` is not
    writable, and whatever `make` raises.
    """
    path = root / CACHE / f"{key}.pt"
    try:
        return _mapped(path)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError):  # absent or damaged
        parts = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: torch.save(parts, temporary))
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError where the disk is full
        raise Unavailable(f"decoded images cannot be stored at {path} ({error})") from error
    return _mapped(path)


def _mapped(path: Path) -> Parts:
    train, held_out = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    return train, held_out
