"""One figure per file. They are the same whatever matplotlib's user settings are: nobody's backend, style or TeX."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import matplotlib
except (ValueError, OSError):  # MPLBACKEND or the user's matplotlibrc is what this matplotlib refuses: without them
    _before = dict(os.environ)
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    try:
        import matplotlib
    finally:
        for _name in ("MPLBACKEND", "MATPLOTLIBRC"):
            os.environ.pop(_name) if _name not in _before else os.environ.update({_name: _before[_name]})

_BACKENDS = ("backend", "backend_fallback")


@contextmanager
def plain_settings() -> Iterator[None]:
    """Draws with matplotlib's own defaults; those of the user are back after the block."""
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in _BACKENDS}
    with matplotlib.rc_context(defaults):
        yield
