"""Data and samples in observation and projected space over training, with the traces below (the paper's Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.labels import assignment_text, count
from gramtune.record.point_samples import PointSamples
from gramtune.record.state import TrialRecord
from gramtune.report.figures import style
from gramtune.report.figures.plane import (
    DATA_COLOUR,
    SAMPLE_COLOUR,
    Points,
    frame,
    in_plane,
    outside,
    plane_text,
    scatter,
)
from gramtune.report.figures.traces import draw_traces

_PANEL = 1.55
"""Size in inches of a panel with its margins."""
_REPLICATE = 0
"""The replicate whose points are drawn; the traces show all replicates."""


def projection_figure(record: TrialRecord, recorded: Mapping[int, PointSamples], sweep: str) -> Figure:
    """One column per step: the points above and, if there is a critic, their features below.

    The observation space has the limits of the data at every step; the number of samples outside is printed. The limits
    of the projected space fit the features of each step, because a critic may choose any scale.
    """
    first = next(iter(recorded.values()))
    rows = 1 if first.real_features is None else 2
    figure = style.sheet(_PANEL * len(recorded) + 0.4, _PANEL * rows + 2.1)
    grid = figure.add_gridspec(rows + 1, len(recorded), height_ratios=[1] * (rows + 1))
    for column, (step, points) in enumerate(recorded.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(f"step {step:,}", fontsize=style.TEXT)
        _observation(axes, points, label=column == 0)
        if points.real_features is not None and points.fake_features is not None:
            projected = figure.add_subplot(grid[1, column])
            _projected(projected, points.real_features[_REPLICATE], points.fake_features[_REPLICATE], column == 0)
    lines = draw_traces(style.trace_axes(figure, grid[rows, :]), record)
    style.title(figure, *_title(record, first, sweep))
    style.legend_below(figure, [*_handles(), *lines])
    return figure


def _observation(axes: Axes, points: PointSamples, *, label: bool) -> None:
    real, fake = in_plane(points.real[_REPLICATE], points.fake[_REPLICATE])
    scatter(axes, real, fake, size=3)
    frame(axes, real, margin=0.35)
    style.small_ticks(axes)
    if missing := outside(axes, fake) + len(points.fake[_REPLICATE]) - len(fake):
        style.corner(axes, f"{missing} outside")
    if label:
        axes.set_ylabel("observation space", fontsize=style.TEXT)


def _projected(axes: Axes, real: Points, fake: Points, label: bool) -> None:
    shown = in_plane(real, fake)
    if missing := len(real) + len(fake) - sum(map(len, shown)):
        style.corner(axes, f"{missing} not finite")
    scatter(axes, *shown, size=3)
    frame(axes, np.concatenate(shown), margin=0.1)
    style.small_ticks(axes)
    if label:
        axes.set_ylabel("projected space", fontsize=style.TEXT)


def _title(record: TrialRecord, points: PointSamples, sweep: str) -> list[str]:
    replicates, n, dim = points.real.shape
    text = f"replicate {_REPLICATE} of {count(replicates, 'replicate')}, {n} points each; {plane_text(dim)}"
    if points.real_features is not None:
        k = points.real_features.shape[2]
        text += f", projected to K = {k}" + (f" ({plane_text(k)})" if k != 2 else "")
    return [f"{sweep}: {assignment_text(record.trial.assignment)} ({record.status})", text]


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker="o", markersize=4, linestyle="none", label=label)
        for colour, label in ((DATA_COLOUR, "data"), (SAMPLE_COLOUR, "samples"))
    ]
