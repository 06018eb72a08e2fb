"""One figure per file. Figures do not depend on the user's matplotlib settings (backend, style, TeX)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import matplotlib
except (ValueError, OSError):  # matplotlib refuses MPLBACKEND or the user's matplotlibrc: import it without them
    _before = dict(os.environ)
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    for _name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[_name]  # the failed import left some modules behind
    try:
        import matplotlib
    finally:
        for _name in ("MPLBACKEND", "MATPLOTLIBRC"):
            os.environ.pop(_name) if _name not in _before else os.environ.update({_name: _before[_name]})

_BACKENDS = ("backend", "backend_fallback")


@contextmanager
def plain_settings() -> Iterator[None]:
    """Draws with matplotlib's own defaults; restores the user's settings after the block."""
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in _BACKENDS}
    with matplotlib.rc_context(defaults):
        yield
