"""The primary metric against one varied key: how sensitive is quality to this hyperparameter?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.series import Axis, Place, axis_of
from gramtune.record.report import Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style

_MAX_LINES = 8
"""Most combinations of the other varied keys that are drawn as lines; more combinations are drawn as dots only."""


@dataclass(frozen=True)
class _Line:
    """A series and how it is drawn."""

    label: str
    records: list[tuple[Place, TrialRecord]]
    colour: str
    marker: str
    connected: bool
    """Whether the means are connected: the key is a number, and nothing else differs."""


def sensitivity_figure(state: SweepState, key: str) -> Figure:
    """The primary metric at each trial's end against `key`: mean, std, interval, replicates as dots.

    The dark band, or the bar with caps, is ± std over replicates. The light band, or the long bar, is Student's 95 %
    interval of the mean, which is wider for few replicates. The y axis shows all dots and all standard deviations.
    Symbols at the top edge mark trials without a final value.

    The x axis is logarithmic for a logarithmically sampled range and for listed numbers that span more than a decade;
    values that are not numbers are categories. Each combination of the listed values of further varied keys has a line
    (one per method, for example); more than eight have only dots. If one of these keys is sampled from a range, the
    means are not connected: neighbours differ in more than `key`. Trials without the key are left out. Only completed
    trials have a mean; a line has a gap at other trials. Raises KeyError if `key` does not vary.
    """
    axis = axis_of(state, key)
    lines = _lines(axis)
    figure, axes = style.column_figure(state, "mean ± std (dark), 95 % interval (light)")
    style.label_x(axes, key)
    if axis.log:
        axes.set_xscale("log")
    drawn: list[float] = []
    with_means = len(lines) <= _MAX_LINES
    for line in lines:
        drawn += _draw(axes, line, state.plan.metric, with_means=with_means)
    sampled = state.plan.sweep.space[key].values is None
    _frame(axes, axis.places, categorical=not axis.numeric, sampled=sampled)
    style.scale_y(axes, drawn)
    if axes.get_yscale() == "linear":
        _frame_y(axes, drawn, [line for line in lines if with_means], state.plan.metric)
    if not drawn:
        style.say_empty(axes)
    entries = _handles(lines, with_means=with_means) if drawn else []
    style.legend(figure, [*entries, *_mark_lost(axes, lines)], columns=_columns(lines))
    return figure


def _lines(axis: Axis) -> list[_Line]:
    few = len(axis.series) <= _MAX_LINES
    return [
        _Line(
            series.label or "mean",
            series.records,
            style.OKABE_ITO[i] if few else style.OKABE_ITO[0],
            style.MARKERS[i] if few else "o",
            axis.numeric and series.alone,
        )
        for i, series in enumerate(axis.series)
    ]


def _draw(axes: Axes, series: _Line, metric: str, *, with_means: bool) -> list[float]:
    """Draws dots, means and spread of one series; returns the drawn values, for the scale."""
    dots = [(place.x, value) for place, record in series.records for value in _final_values(record, metric)]
    axes.plot(
        [x for x, _ in dots],
        [value for _, value in dots],
        "o",
        color=series.colour,
        alpha=0.35,
        markersize=2.5,
        markeredgewidth=0,
        gid="replicates",
    )
    if with_means:
        _draw_means(axes, series, metric)
    return [value for _, value in dots]


def _draw_means(axes: Axes, series: _Line, metric: str) -> None:
    summaries = [r.summary(metric) if r.status == Status.COMPLETED else None for _, r in series.records]
    x = [place.x for place, _ in series.records]
    mean = [s.mean if s else math.nan for s in summaries]
    margin = [_or_nan(s.margin if s else None) for s in summaries]
    std = [_or_nan(s.std if s else None) for s in summaries]
    look: Mapping[str, Any] = {"color": series.colour, "marker": series.marker, "markersize": 3.5, "gid": "mean"}
    if series.connected:
        axes.plot(x, mean, linewidth=1.2, **look)
        for gid, spread, alpha in (("interval", margin, 0.08), ("std", std, 0.18)):
            low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=series.colour, alpha=alpha, linewidth=0, gid=gid)
        return
    axes.plot(x, mean, linestyle="none", **look)
    for gid, spread, caps, width in (("interval", margin, 0, 0.5), ("std", std, 2, 1)):
        bars = axes.errorbar(x, mean, spread, fmt="none", ecolor=series.colour, capsize=caps, elinewidth=width)
        for part in (*bars.lines[1], *bars.lines[2]):
            part.set_gid(gid)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _frame_y(axes: Axes, dots: Sequence[float], lines: Sequence[_Line], metric: str) -> None:
    """Fits the y axis to dots and standard deviations; an interval may extend beyond the frame."""
    summaries = [r.summary(metric) for line in lines for _, r in line.records if r.status == Status.COMPLETED]
    ends = [s.mean + sign * (s.std or 0.0) for s in summaries if s for sign in (-1, 1)]
    if known := [*dots, *ends]:
        margin = 0.05 * ((max(known) - min(known)) or abs(known[0]) or 1.0)
        axes.set_ylim(min(known) - margin, max(known) + margin)


def _final_values(record: TrialRecord, metric: str) -> list[float]:
    """Final values of a completed trial; of a diverged trial, those of the replicates that did not diverge."""
    if record.last is None or record.status not in (Status.COMPLETED, Status.DIVERGED):
        return []
    return [value for value in record.values(metric) if value is not None]


def _frame(axes: Axes, places: Sequence[Place], *, categorical: bool, sampled: bool) -> None:
    xs = [place.x for place in places]
    if categorical:
        axes.set_xlim(-0.5, len(xs) - 0.5)
    elif len(xs) > 1:
        # Trials without a value at either end need space for their symbols.
        log = axes.get_xscale() == "log"
        low, high = (math.log10(min(xs)), math.log10(max(xs))) if log else (min(xs), max(xs))
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
        axes.set_xlim(*(10**limit for limit in limits) if log else limits)
    elif xs and axes.get_xscale() == "log":
        axes.set_xlim(xs[0] / 2, xs[0] * 2)  # matplotlib would divide by the width of one point
    if not sampled:
        style.tick_values(axes, xs, [place.text for place in places])
    elif axes.get_xscale() == "log" and xs:
        style.plain_log_ticks(axes.xaxis, math.log10(max(xs) / min(xs)))


def _mark_lost(axes: Axes, lines: Sequence[_Line]) -> list[Line2D]:
    """Marks trials without a final mean at the top edge; returns the legend's entries."""
    handles = []
    for status in style.LOST:
        xs = sorted({place.x for s in lines for place, record in s.records if record.status == status})
        if xs:
            style.mark_lost(axes, status, xs)
            handles.append(style.lost_handle(status))
    return handles


def _handles(lines: Sequence[_Line], *, with_means: bool) -> list[Line2D]:
    dot = Line2D([], [], color=lines[0].colour, alpha=0.5, marker="o", markersize=2.5, linestyle="none")
    dot.set_label("replicate")
    return [*(_mean_handle(series) for series in lines if with_means), dot]


def _mean_handle(series: _Line) -> Line2D:
    handle = Line2D([], [], color=series.colour, marker=series.marker, markersize=3.5)
    handle.set_linestyle("-" if series.connected else "none")
    handle.set_label(style.escaped(series.label))
    return handle


def _columns(lines: Sequence[_Line]) -> int:
    """Columns of the legend; fewer for long labels."""
    longest = max((len(series.label) for series in lines), default=0)
    return 4 if longest < 16 else 2 if longest < 32 else 1
