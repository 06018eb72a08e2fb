"""Figures of generated samples, by file name. A figure is left out if the sweep's folder lacks its data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from gramtune.analysis.nearest_images import nearest_images
from gramtune.io import data_root
from gramtune.record.layout import read_strip, sample_grids, trial_folder
from gramtune.record.point_samples import PointSamples, point_samples, read_points
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures.image_training import image_training_figure
from gramtune.report.figures.nearest import nearest_figure
from gramtune.report.figures.projection import projection_figure
from gramtune.report.figures.scatter_grid import MAX_PANELS, scatter_grid
from gramtune.report.figures.selection import evenly_spaced, one_per_method

Draw = Callable[[], Figure | None]
PREFIX = "samples_"
"""Prefix of the names of these figures; no figure of a varied key has it."""
_COLUMNS, _ROWS = 4, 8


def sample_figures(state: SweepState, folder: Path) -> dict[str, Figure]:
    """The figures of `sample_draws`, drawn."""
    drawn = {name: draw() for name, draw in sample_draws(state, folder).items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def sample_draws(state: SweepState, folder: Path) -> dict[str, Draw]:
    """Functions that draw Fig. 1, 2, 4 and 7 of the paper for this sweep, by name; each returns None without data."""
    found: dict[str, Draw] = {}
    with_points = one_per_method(state, lambda record: bool(point_samples(_trial(record, folder))))
    for method, record in with_points.items():
        found[PREFIX + _named("projection", method)] = partial(_projection, state, record, folder)
    if len(state.records) <= MAX_PANELS:
        found[PREFIX + "grid"] = partial(_grid, state, folder)
    with_images = one_per_method(state, lambda record: bool(sample_grids(_trial(record, folder))))
    for method, record in with_images.items():
        found[PREFIX + _named("training", method)] = partial(_training, state, record, folder)
    for best in [*with_images.values()][:1]:
        found[PREFIX + "nearest"] = partial(_nearest, state, best, folder)
    return found


def _projection(state: SweepState, record: TrialRecord, folder: Path) -> Figure | None:
    recorded = _points_over_training(record, folder)
    return projection_figure(record, recorded, state.plan.sweep.name) if recorded else None


def _grid(state: SweepState, folder: Path) -> Figure | None:
    newest = {name: points for name, record in state.records.items() if (points := _newest_points(record, folder))}
    return scatter_grid(state, newest)


def _training(state: SweepState, record: TrialRecord, folder: Path) -> Figure | None:
    files = sample_grids(_trial(record, folder))
    shape, steps = record.trial.config.data.shape, evenly_spaced(list(files), _ROWS, log=False)
    strips = {step: strip for step in steps if (strip := read_strip(files[step], shape)) is not None}
    return image_training_figure(record, strips, state.plan.sweep.name) if strips else None


def _nearest(state: SweepState, best: TrialRecord, folder: Path) -> Figure | None:
    found = nearest_images(best, folder, data_root())
    return nearest_figure(best, found, state.plan.sweep.name) if found is not None else None


def _points_over_training(record: TrialRecord, folder: Path) -> dict[int, PointSamples]:
    """Points at steps in equal ratios, such as 10, 100, 1,000 and 10,000."""
    files = point_samples(_trial(record, folder))
    steps = evenly_spaced([step for step in files if step > 0] or list(files), _COLUMNS, log=max(files) > 0)
    return {step: points for step in steps if (points := read_points(files[step]))}


def _newest_points(record: TrialRecord, folder: Path) -> PointSamples | None:
    files = point_samples(_trial(record, folder))
    return read_points(files[max(files)]) if files else None


def _trial(record: TrialRecord, folder: Path) -> Path:
    return trial_folder(folder, record.trial.name)


def _named(figure: str, method: str) -> str:
    return f"{figure}-{method}" if method else figure
