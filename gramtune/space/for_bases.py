"""Handles `for`: additional values of a key for one base, such as a larger K for larger data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from gramtune.errors import Issue, did_you_mean
from gramtune.space.yaml_reader import Document

_KEY = "for"


def extended(
    document: Document, base: FilePath | None, find: Callable[[str], FilePath]
) -> tuple[Document, list[Issue]]:
    """The document with the values under `for` of this base appended to each key, and `for` itself removed.

        objective.critic_dim: {grid: [16, 64, 256], for: {cifar10: [1000, 2000]}}

    `base` is the base in use, None for an inline one; `find` gives the file of a base by its name.
    """
    space = document.data.get("space")
    if not isinstance(space, dict):
        return document, []  # reported by the check of the file's structure
    data, lines, issues = {**document.data, "space": dict(space)}, dict(document.lines), []
    for key, domain in space.items():
        if not isinstance(domain, dict) or _KEY not in domain:
            continue
        rest = {kind: value for kind, value in domain.items() if kind != _KEY}
        kind = next((kind for kind in ("grid", "choice") if isinstance(rest.get(kind), list)), "")
        found = _issues(document, key, domain[_KEY], kind, find)
        issues += found
        for name, values in () if found else domain[_KEY].items():
            if base is not None and find(name).resolve() == base.resolve():
                first = len(rest[kind])
                rest[kind] = [*rest[kind], *values]
                for i in range(len(values)):
                    lines["space", key, kind, first + i] = lines.get(("space", key, _KEY, name, i), 1)
        data["space"][key] = rest
    return replace(document, data=data, lines=lines), issues


def _issues(document: Document, key: str, given: Any, kind: str, find: Callable[[str], FilePath]) -> list[Issue]:
    where = document.where(("space", key, _KEY))
    if not kind:
        return [Issue(where, f"space.{key}.for: only grid and choice can have it: it adds values to them")]
    if not isinstance(given, dict) or not given:
        return [Issue(where, f"space.{key}.for: {given!r} should be a mapping of bases to additional values")]
    issues = []
    for name, values in given.items():
        where = document.where(("space", key, _KEY, name))
        file = find(name) if isinstance(name, str) else None
        if file is None or not file.is_file():
            legal = sorted(path.stem for path in find("x").parent.glob("*.yaml"))
            issues.append(Issue(where, f"space.{key}.for: {name!r} is no base" + did_you_mean(str(name), legal)))
        elif not isinstance(values, list) or not values:
            issues.append(Issue(where, f"space.{key}.for.{name}: {values!r} should be a list of values"))
    return issues
