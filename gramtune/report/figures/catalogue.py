"""Figures of a sweep for a paper's column: the primary metric against each varied key, and against training steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from functools import partial
from itertools import count
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from gramtune.analysis.labels import leaves
from gramtune.io import write_atomically
from gramtune.record.state import SweepState
from gramtune.report import FIGURES
from gramtune.report.figures import plain_settings
from gramtune.report.figures.bounds import bounds_figure
from gramtune.report.figures.front import front_figure
from gramtune.report.figures.learning_curves import learning_curves
from gramtune.report.figures.parallel import parallel_figure
from gramtune.report.figures.samples import PREFIX, Draw, sample_draws
from gramtune.report.figures.schedule import schedule_figure
from gramtune.report.figures.sensitivity import sensitivity_figure
from gramtune.space.sweep import Sweep

__all__ = ["learning_curves", "sensitivity_figure", "write_figures"]

CURVES, FRONT, PARALLEL = "learning_curves", "front", "parallel_coordinates"
BOUNDS = "bounds-"
"""Beginning of the names of the figures of verdicts."""
_DPI = 300
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""Nothing that changes from one writing to the next, so that equal sweeps give equal bytes."""


def write_figures(state: SweepState, folder: Path, failed: list[str] | None = None) -> list[Path]:
    """Writes figures/<key>.png and .svg for each varied key, learning_curves, the front of two metrics, and samples.

    Each figure is drawn on its own. `failed` gets a line for each that cannot be drawn.
    """
    target = folder / FIGURES
    target.mkdir(parents=True, exist_ok=True)
    with plain_settings():
        return _write_figures(state, folder, target, failed)


def _write_figures(state: SweepState, folder: Path, target: Path, failed: list[str] | None) -> list[Path]:
    against_key = schedule_figure if state.plan.sweep.scheduler.name == "pbt" else sensitivity_figure
    draws: dict[str, Draw] = {
        name: partial(against_key, state, key) for key, name in file_names(state.plan.sweep.space).items()
    }
    for key, name in file_names(state.plan.sweep.space).items():
        draws[f"{BOUNDS}{name}"] = partial(bounds_figure, state, key)
    draws[CURVES] = partial(learning_curves, state)
    if len(state.plan.metrics) == 2:
        draws[FRONT] = partial(front_figure, state)
    if _joint(state.plan.sweep):
        draws[PARALLEL] = partial(parallel_figure, state)
    for name, draw in sample_draws(state, folder).items():
        draws[_free(_legal(name), draws)] = draw
    written = []
    for name, draw in draws.items():
        try:
            if (figure := draw()) is None:
                continue
            _lay_out(figure)
        # Anything may be wrong with data and files that others wrote. Tables and page matter more than one figure.
        except Exception as error:  # noqa: BLE001 (see above)
            if failed is not None:
                reason = next(iter(str(error).splitlines()), "")
                failed.append(f"figure {name} is not drawn: {type(error).__name__}: {reason}")
            continue
        for suffix in _METADATA:
            path = target / f"{name}.{suffix}"
            write_atomically(path, _writer(figure, suffix))
            written.append(path)
    return written


def _joint(sweep: Sweep) -> bool:
    """Whether keys vary together for the whole of a trial; a grid of two is told by its lines."""
    return sweep.scheduler.name == "none" and len(sweep.space) > (2 if sweep.search.name == "grid" else 1)


def file_names(keys: Iterable[str]) -> dict[str, str]:
    """A file name for each key: its label where that is legal and free. A key with cases may be called anything."""
    names: dict[str, str] = {}
    for key, label in leaves(keys).items():
        stem = _legal(label)
        while stem in names.values() or stem in (CURVES, FRONT, PARALLEL) or stem.startswith((PREFIX, BOUNDS)):
            stem = f"_{stem}" if stem.startswith((PREFIX, BOUNDS)) else f"{stem}_"
        names[key] = stem
    return names


def _free(stem: str, taken: Container[str]) -> str:
    """`stem`, or with a number where another name became the same one."""
    numbered = (f"{stem}_{number}" for number in count(2))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def _legal(name: str) -> str:
    """A file name that looks like `name`."""
    return re.sub(r"[^A-Za-z0-9.,=_+-]", "_", name).lstrip(".") or "_"


def _lay_out(figure: Figure) -> None:
    """Places everything for good: each format would solve the same constraints again, half of the time it takes.

    None leaves no engine; "none" would leave one that does nothing, for whose sake matplotlib draws everything twice.
    """
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        with matplotlib.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)


def _writer(figure: Figure, suffix: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with matplotlib.rc_context({"svg.hashsalt": "gramtune"}):
            figure.savefig(path, format=suffix, dpi=_DPI, metadata=_METADATA[suffix])

    return write
