"""Figures of what a sweep generated, by file name; each only where the sweep's folder has what it shows."""

from __future__ import annotations

from collections.abc import Iterator
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
from gramtune.report.figures.selection import one_per_method, spread

PREFIX = "samples_"
"""Of the names of all of them: no figure of a varied key begins with it."""
_COLUMNS, _ROWS = 4, 8


def sample_figures(state: SweepState, folder: Path) -> dict[str, Figure]:
    """Fig. 1, 2, 4 and 7 of the paper, for this sweep."""
    return {PREFIX + name: figure for name, figure in _figures(state, folder)}


def _figures(state: SweepState, folder: Path) -> Iterator[tuple[str, Figure]]:
    sweep = state.plan.sweep.name
    with_points = one_per_method(state, lambda record: bool(point_samples(_trial(record, folder))))
    for method, record in with_points.items():
        if recorded := _points_over_training(record, folder):
            yield _named("projection", method), projection_figure(record, recorded, sweep)
    if len(state.records) <= MAX_PANELS:
        newest = {name: points for name, record in state.records.items() if (points := _newest_points(record, folder))}
        if (grid := scatter_grid(state, newest)) is not None:
            yield "grid", grid
    with_images = one_per_method(state, lambda record: bool(sample_grids(_trial(record, folder))))
    for method, record in with_images.items():
        files = sample_grids(_trial(record, folder))
        shape, steps = record.trial.config.data.shape, spread(list(files), _ROWS, log=False)
        strips = {step: strip for step in steps if (strip := read_strip(files[step], shape)) is not None}
        if strips:
            yield _named("training", method), image_training_figure(record, strips, sweep)
    for best in [*with_images.values()][:1]:
        if (found := nearest_images(best, folder, data_root())) is not None:
            yield "nearest", nearest_figure(best, found, sweep)


def _points_over_training(record: TrialRecord, folder: Path) -> dict[int, PointSamples]:
    """Points at steps in equal ratios, such as 10, 100, 1,000 and 10,000."""
    files = point_samples(_trial(record, folder))
    steps = spread([step for step in files if step > 0] or list(files), _COLUMNS, log=max(files) > 0)
    return {step: points for step in steps if (points := read_points(files[step]))}


def _newest_points(record: TrialRecord, folder: Path) -> PointSamples | None:
    files = point_samples(_trial(record, folder))
    return read_points(files[max(files)]) if files else None


def _trial(record: TrialRecord, folder: Path) -> Path:
    return trial_folder(folder, record.trial.name)


def _named(figure: str, method: str) -> str:
    return f"{figure}-{method}" if method else figure
