"""Issues in the user's input: all are collected and raised together, one line each. Imports nothing from gramtune."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""A place in a YAML document: keys and list indices from the top."""


@dataclass(frozen=True)
class Issue:
    """One issue: `where` is file:line or a command-line option."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SpecError(ValueError):
    """All issues of a sweep, found before anything starts."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        tidy = (Issue(escaped(issue.where), clipped(escaped(issue.message))) for issue in issues)
        self.issues = sorted(dict.fromkeys(tidy), key=_place)
        super().__init__("\n".join(map(str, self.issues)))


def _place(issue: Issue) -> tuple[str, int]:
    """Sort key: the file, then the line number."""
    file, _, line = issue.where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (issue.where, 0)


def escaped(text: str) -> str:
    """`text` as one printable line; control characters are escaped as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clipped(text: str, length: int = 600) -> str:
    """`text` without its middle if it is too long: the bad value and the rule are at its ends."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"


def did_you_mean(word: object, legal: Iterable[str]) -> str:
    """A suggestion: `; did you mean 'x'? legal: x, y, z`; without the question if no name is similar."""
    legal = list(legal)
    near = difflib.get_close_matches(str(word), legal, n=1)
    alternatives = f" legal: {', '.join(legal)}" if legal else ""
    return (f"; did you mean {near[0]!r}?" if near else ";" if legal else "") + alternatives


def count(n: int, noun: str) -> str:
    """A number with its noun: `1 trial`, `3 trials`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def dotted(path: Path) -> str:
    """A path as text: ('objective', 'bandwidths', 0) → objective.bandwidths[0]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
