"""Writes all figures of a sweep in the column width of a paper: one per varied key, learning curves, samples."""

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
"""Prefix of the file names of figures that show verdicts."""
_DPI = 300
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""Metadata without dates and versions, so that equal sweeps give equal bytes."""


def write_figures(state: SweepState, folder: Path, failed: list[str] | None = None) -> list[Path]:
    """Writes figures/<key>.png and .svg for each varied key, learning_curves, the Pareto front, and samples.

    A figure that cannot be drawn adds a line to `failed`; the other figures are still written.
    """
    target = folder / FIGURES
    target.mkdir(parents=True, exist_ok=True)
    with plain_settings():
        return _write_figures(state, folder, target, failed)


def _write_figures(state: SweepState, folder: Path, target: Path, failed: list[str] | None) -> list[Path]:
    against_key = schedule_figure if state.plan.sweep.is_population else sensitivity_figure
    draws: dict[str, Draw] = {
        name: partial(against_key, state, key) for key, name in file_names(state.plan.sweep.space).items()
    }
    for key, name in file_names(state.plan.sweep.space).items():
        draws[f"{BOUNDS}{name}"] = partial(bounds_figure, state, key)
    draws[CURVES] = partial(learning_curves, state)
    if len(state.plan.metrics) > 1:
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
        # Any error is possible with data and files written by others. Tables and page matter more than one figure.
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
    """Whether several keys vary at once and stay constant within a trial. A grid of two keys is excluded: the lines of
    its other figures show it."""
    return not sweep.is_population and len(sweep.space) > (2 if sweep.search.name == "grid" else 1)


def file_names(keys: Iterable[str]) -> dict[str, str]:
    """A file name for each key: its label, changed if it is illegal or taken. A key with cases may have any name."""
    names: dict[str, str] = {}
    for key, label in leaves(keys).items():
        stem = _legal(label)
        while stem in names.values() or stem in (CURVES, FRONT, PARALLEL) or stem.startswith((PREFIX, BOUNDS)):
            stem = f"_{stem}" if stem.startswith((PREFIX, BOUNDS)) else f"{stem}_"
        names[key] = stem
    return names


def _free(stem: str, taken: Container[str]) -> str:
    """`stem`, with a number appended if it is taken."""
    numbered = (f"{stem}_{number}" for number in count(2))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def _legal(name: str) -> str:
    """`name` with illegal characters replaced by underscores."""
    return re.sub(r"[^A-Za-z0-9.,=_+-]", "_", name).lstrip(".") or "_"


def _lay_out(figure: Figure) -> None:
    """Runs the layout engine once and removes it: each file format would run it again, which takes half of the time.

    `set_layout_engine(None)` removes it; "none" would keep a placeholder engine, and matplotlib would draw twice.
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
