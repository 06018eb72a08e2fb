"""Embeds figures in a page as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Picture:
    """A figure inside a page."""

    name: str
    """Stem of its files."""
    uri: str
    caption: str


def data_uri(paths: Iterable[Path]) -> str:
    """The smallest of these files of one figure, as a data URI."""
    smallest = min(paths, key=lambda path: (path.stat().st_size, path.suffix))
    return f"data:{_TYPES[smallest.suffix]};base64,{base64.b64encode(smallest.read_bytes()).decode('ascii')}"


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The files of each figure, by stem, in order of first appearance."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem, []).append(path)
    return groups
