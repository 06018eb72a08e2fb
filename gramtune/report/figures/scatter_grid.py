"""Samples of every trial of a sweep on a point set, one panel per trial (the paper's Fig. 2 and 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gramtune.analysis.labels import count, leaves, number, value_text
from gramtune.record.point_samples import PointSamples
from gramtune.record.report import Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style
from gramtune.report.figures.plane import frame, in_plane, outside, plane_text, scatter

MAX_PANELS = 96
"""Most panels; more would be too small to read."""
_PANEL = 0.8
_REPLICATE = 0
_METRIC = "modes"

Cell = tuple[str, str, str]
"""Block, row and column of a panel, named by the values of the varied keys."""


def scatter_grid(state: SweepState, newest: Mapping[str, PointSamples]) -> Figure | None:
    """One panel per trial, from the points at its newest evaluation, by trial name.

    Columns are the values of the last varied key; each value of the first key is a block (the paper has one per
    method); rows are the keys between them. None for a sampled sweep, for one trial, and for more than MAX_PANELS.
    """
    cells = {_cell(state, record): record for record in state.records.values()}
    listed = all(domain.values is not None for domain in state.plan.sweep.space.values())
    if not newest or not listed or not 2 <= len(cells) <= MAX_PANELS or len(cells) < len(state.records):
        return None
    blocks, rows, columns = (list(dict.fromkeys(cell[i] for cell in cells)) for i in range(3))
    across = max(1, min(len(blocks), 8 // len(columns)))
    down = math.ceil(len(blocks) / across)
    figure = style.sheet(across * (len(columns) * _PANEL + 0.4) + 0.5, down * (len(rows) * _PANEL + 0.5) + 0.9)
    for block, part in zip(blocks, figure.subfigures(down, across, squeeze=False).flat, strict=False):
        part.suptitle(style.escaped(block), fontsize=style.TEXT, fontweight="bold")
        panels = part.subplots(len(rows), len(columns), squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                axes: Axes = panels[i, j]
                record = cells.get((block, row, column))
                _panel(axes, record, newest.get(record.trial.name) if record else None)
                if i == 0:
                    axes.set_title(style.escaped(column), fontsize=style.SMALL)
                if j == 0:
                    axes.set_ylabel(style.escaped(row), fontsize=style.SMALL)
    style.title(figure, *_title(state, newest))
    return figure


def _cell(state: SweepState, record: TrialRecord) -> Cell:
    """Block, row and column of the trial. One varied key gives only columns; two give columns and blocks."""
    names, assignment = leaves(state.plan.sweep.space), record.trial.assignment
    texts = {key: f"{name} = {value_text(assignment[key])}" for key, name in names.items() if key in assignment}
    first, *between, last = ["", *names] if len(names) == 1 else list(names)
    block = value_text(assignment[first]) if isinstance(assignment.get(first), str) else texts.get(first, "")
    return block, ", ".join(texts[key] for key in between if key in texts), texts.get(last, "")


def _panel(axes: Axes, record: TrialRecord | None, points: PointSamples | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    if record is None:
        axes.set_axis_off()
        return
    axes.set_gid(record.trial.name)
    if points is not None:
        real, fake = in_plane(points.real[_REPLICATE], points.fake[_REPLICATE])
        scatter(axes, real, fake, size=1.5)
        frame(axes, real, margin=0.3)
        if outside(axes, fake) == len(fake):
            axes.text(0.5, 0.5, "all outside", transform=axes.transAxes, ha="center", va="center", fontsize=5)
    if (summary := record.summary(_METRIC)) is not None:
        style.corner(axes, number(round(summary.mean, 2)) + _of_all(record))
    if record.status in (*style.LOST, Status.RUNNING, Status.PENDING):
        style.banner(axes, record.status.value)


def _of_all(record: TrialRecord) -> str:
    mixture = record.trial.config.data.mixture()
    return "" if mixture is None else f"/{len(mixture.centres)}"


def _title(state: SweepState, newest: Mapping[str, PointSamples]) -> list[str]:
    replicates, n, dim = next(iter(newest.values())).real.shape
    steps = sorted({record.last.step for record in state.records.values() if record.last})
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    shown = f"replicate {_REPLICATE} of {count(replicates, 'replicate')} after {span} steps, {n} points each"
    counted = any(record.summary(_METRIC) for record in state.records.values())
    return [
        f"{state.plan.sweep.name}: data (blue) and samples (orange) of {shown}; {plane_text(dim)}",
        *([f"number: modes captured, mean over {count(replicates, 'replicate')}"] if counted else []),
    ]
