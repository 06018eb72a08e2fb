"""The origins of values: file and line, an option, or a line of Python. Every issue names the origin."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from gramtune.errors import Path, dotted
from gramtune.space.yaml_reader import Document


@dataclass(frozen=True)
class Origins:
    """The origins of a configuration's values: overrides and varied keys by dotted path, else lines of the base."""

    document: Document
    overrides: Mapping[str, str]

    def where(self, path: Path) -> str:
        """file:line or option of `path`, or of its nearest known parent."""
        for length in range(len(path), 0, -1):
            if (key := dotted(path[:length])) in self.overrides:
                return self.overrides[key]
        for key, place in self.overrides.items():
            if path and key.startswith(dotted(path) + "."):  # a missing section that the key created
                return place
        return self.document.where(path)


@dataclass(frozen=True, eq=False)
class SweepOrigins:
    """The origins of a sweep's keys and of its trials' values. A `Sweep` holds it; it does not affect equality."""

    sweep: Document
    trial: Origins
    idle: tuple[str, ...] = ()
    """One line for each option and key that has no effect."""

    def __eq__(self, other: object) -> bool:
        return True  # sweeps with equal values are equal, whatever their origins

    __hash__ = None  # type: ignore[assignment]


def calling_line() -> str:
    """The innermost calling line outside of this package, as `script.py:12`; in a notebook, the line of the cell."""
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == "gramtune":
        frame = frame.f_back
    if frame is None:
        return "Python"
    file = frame.f_code.co_filename
    name = "cell" if "ipykernel" in file or file.startswith("<ipython") else file
    return f"{FilePath(name)}:{frame.f_lineno}"
