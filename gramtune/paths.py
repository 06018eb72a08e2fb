"""Where data, weights and results live, and how files are written so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def data_root() -> Path:
    """Folder of data sets and feature weights: $GRAMTUNE_DATA, else ~/.cache/gramtune."""
    return Path(os.environ.get("GRAMTUNE_DATA") or "~/.cache/gramtune").expanduser().absolute()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, then renames it into place. Raises what `write` raises."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
