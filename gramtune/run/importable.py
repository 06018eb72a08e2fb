"""Refuses components that Ray's workers cannot import, such as one registered in a notebook's cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gramtune.errors import Issue, SpecError
from gramtune.registry import KINDS, registered_in
from gramtune.space.sweep import Sweep

_HERE = "__main__"
"""The module of a notebook's cells and of a script that runs."""


def check_importable(sweep: Sweep) -> None:
    """Raises SpecError for components of the sweep that Ray's workers cannot import."""
    named = set(_texts([sweep.base, {key: domain.model_dump() for key, domain in sweep.space.items()}]))
    issues = []
    for cls in registered_in(_HERE):
        name = cls.model_fields["name"].default
        if name in named:
            kind = next(kind for kind in KINDS if issubclass(cls, kind)).__name__.lower()
            rule = f"write it to a file (in a notebook: %%writefile {name}.py) and name that in plugins"
            issues.append(
                Issue(
                    "plugins",
                    f"{kind} {name!r} is registered in this process alone, and workers cannot import it; {rule}: "
                    f"plugins=['{name}.py']; or run with debug=True",
                )
            )
    if issues:
        raise SpecError(issues)


def _texts(value: Any) -> Iterator[str]:
    """All strings in nested mappings and sequences."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for part in (*value.keys(), *value.values()) for text in _texts(part))
    elif isinstance(value, list | tuple):
        yield from (text for part in value for text in _texts(part))
