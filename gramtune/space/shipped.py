"""Finds space and base files shipped with gramtune by name, such as `critic_dim`, from any directory."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """The folder of shipped space files: inside the package if installed from a wheel, beside it in a checkout."""
    inside = _PACKAGE / "search_spaces"  # `Path.is_dir` raises where the package may not be read
    return inside if os.path.isdir(inside) else _PACKAGE.parent / "search_spaces"


def spaces() -> dict[str, Path]:
    """The shipped space files by name."""
    return _by_name(folder())


def bases() -> dict[str, Path]:
    """The shipped base files by name."""
    return _by_name(folder() / "base")


def space_file(given: Path | str) -> Path:
    """`given`; if there is no such file, the shipped space of that name."""
    return _found(Path(given), spaces())


def base_file(given: str, beside: Path) -> Path:
    """The base that `given` names: a file, `base/<given>.yaml` in the folder `beside`, or the shipped one."""
    if Path(given).suffix:
        return Path(given)
    own = beside / "base" / f"{given}.yaml"
    return own if os.path.exists(own) else bases().get(given, own)


def train_file(given: Path | str) -> Path:
    """`given`; if there is no such file, the shipped base of that name."""
    return _found(Path(given), bases())


def _found(given: Path, shipped: dict[str, Path]) -> Path:
    return given if os.path.exists(given) else shipped.get(str(given), given)


def _by_name(folder: Path) -> dict[str, Path]:
    found = sorted(folder.glob("*.yaml")) if os.path.isdir(folder) else []
    return {path.stem: path for path in found}
