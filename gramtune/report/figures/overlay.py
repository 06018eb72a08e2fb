"""Draws the curves of several sweeps over the same key in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.compatibility import NamedSweep
from gramtune.analysis.series import Series, axis_of
from gramtune.record.report import Status
from gramtune.report.figures import style

_MAX_LINES = len(style.OKABE_ITO)


def common_keys(sweeps: Sequence[NamedSweep]) -> list[str]:
    """The numeric keys that all sweeps vary; only these have a common axis."""
    first, *others = sweeps
    spaces = [sweep.state.plan.sweep.space for sweep in others]
    return [
        key
        for key in first.state.plan.sweep.space
        if all(key in space for space in spaces) and all(axis_of(sweep.state, key).numeric for sweep in sweeps)
    ]


def overlay_figure(sweeps: Sequence[NamedSweep], key: str) -> Figure:
    """Mean ± std of the primary metric against `key`, one line per sweep and method, at most eight lines.

    Only completed trials have a mean; a line has a gap at other trials.
    """
    figure, axes = style.column_figure(sweeps[0].state)
    metric = sweeps[0].state.plan.metric
    seeds = {sweep.state.plan.sweep.replicates_text.partition(" replicates")[0] for sweep in sweeps}
    title = " and ".join(sorted(seeds, key=lambda text: int(text.split()[0])))
    axes.set_title(style.escaped(f"{len(sweeps)} sweeps: mean ± std\nn = {title} replicates"), fontsize=7, loc="left")
    style.label_x(axes, key)
    if any(axis_of(sweep.state, key).log for sweep in sweeps):
        axes.set_xscale("log")
    lines = [(sweep, series) for sweep in sweeps for series in axis_of(sweep.state, key).series][:_MAX_LINES]
    drawn: list[float] = []
    handles = []
    for i, (sweep, series) in enumerate(lines):
        drawn += _draw(axes, series, metric, style.OKABE_ITO[i], style.MARKERS[i])
        label = f"{sweep.name}: {series.label}" if series.label else sweep.name
        handles.append(
            Line2D(
                [], [], color=style.OKABE_ITO[i], marker=style.MARKERS[i], markersize=3.5, label=style.escaped(label)
            )
        )
    style.scale_y(axes, drawn)
    if not drawn:
        style.say_empty(axes)
    style.legend(figure, handles, columns=1)
    return figure


def _draw(axes: Axes, series: Series, metric: str, colour: str, marker: str) -> list[float]:
    """Draws one line; returns its means, for the scale."""
    summaries = [record.summary(metric) if record.status == Status.COMPLETED else None for _, record in series.records]
    x = [place.x for place, _ in series.records]
    mean = [s.mean if s else math.nan for s in summaries]
    std = [s.std if s and s.std is not None else math.nan for s in summaries]
    axes.plot(x, mean, color=colour, marker=marker, markersize=3.5, linewidth=1.2, gid="mean")
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, gid="std")
    return [value for value in mean if not math.isnan(value)]
