"""The primary metric against one varied key: how sensitive is quality to this hyperparameter?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.report import style
from gramtune.report.labels import assignment_text, value_text
from gramtune.sweep.state import Status, Summary, SweepState, TrialRecord

_MAX_LINES = 8
"""Combinations of the other varied keys that are drawn as lines; more of them are drawn as dots only."""


class _Place(NamedTuple):
    """A value of the key on the x axis."""

    x: float
    text: str


class _Series(NamedTuple):
    """The trials that differ in nothing but the key, by its place, left to right."""

    label: str
    records: list[tuple[_Place, TrialRecord]]
    colour: str
    marker: str


def sensitivity_figure(state: SweepState, key: str) -> Figure:
    """The primary metric at each trial's end against `key`: mean ± std, every replicate a dot, lost trials on top.

    A logarithmic x axis for positive numbers that span more than a decade, categories for anything but numbers.
    Further varied keys give a line per combination, or dots alone where there are more than eight. Only completed
    trials enter the means; a line is interrupted where its trial has none. Raises KeyError if `key` does not vary.
    """
    values = state.values(key)
    numeric = style.numeric(values)
    places = {value_text(v): _Place(float(v) if numeric else float(i), value_text(v)) for i, v in enumerate(values)}
    all_series = _series(state, key, places)
    figure, axes = style.column_figure(state)
    style.label_x(axes, key)
    if numeric and style.spans(values, 1):
        axes.set_xscale("log")
    drawn: list[float] = []
    with_means = len(all_series) <= _MAX_LINES
    for series in all_series:
        drawn += _draw(axes, series, state.plan.metric, connected=numeric, with_means=with_means)
    _frame(axes, list(places.values()), categorical=not numeric)
    style.scale_y(axes, drawn)
    if not drawn:
        style.say_empty(axes)
    entries = _handles(all_series, with_means=with_means, connected=numeric) if drawn else []
    style.legend(figure, [*entries, *_mark_lost(axes, all_series)], columns=_columns(all_series))
    return figure


def _series(state: SweepState, key: str, places: Mapping[str, _Place]) -> list[_Series]:
    grouped: dict[str, list[tuple[_Place, TrialRecord]]] = {}
    for record in state.records.values():
        if key not in record.trial.assignment:
            continue
        others = {k: v for k, v in record.trial.assignment.items() if k != key}
        place = places[value_text(record.trial.assignment[key])]
        grouped.setdefault(assignment_text(others), []).append((place, record))
    few = len(grouped) <= _MAX_LINES
    return [
        _Series(
            label,
            sorted(records, key=lambda pair: pair[0].x),
            style.OKABE_ITO[i] if few else style.OKABE_ITO[0],
            style.MARKERS[i] if few else "o",
        )
        for i, (label, records) in enumerate(grouped.items())
    ]


def _draw(axes: Axes, series: _Series, metric: str, *, connected: bool, with_means: bool) -> list[float]:
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
        _draw_means(axes, series, metric, connected=connected)
    return [value for _, value in dots]


def _draw_means(axes: Axes, series: _Series, metric: str, *, connected: bool) -> None:
    summaries = [r.summary(metric) if r.status == Status.COMPLETED else None for _, r in series.records]
    x = [place.x for place, _ in series.records]
    mean = [s.mean if s else math.nan for s in summaries]
    std = [_std(s) for s in summaries]
    look: Mapping[str, Any] = {"color": series.colour, "marker": series.marker, "markersize": 3.5, "gid": "mean"}
    if connected:
        axes.plot(x, mean, linewidth=1.2, **look)
        low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=series.colour, alpha=0.15, linewidth=0, gid="std")
    else:  # nothing lies between two categories
        axes.errorbar(x, mean, std, linestyle="none", capsize=2, elinewidth=1, **look)


def _std(summary: Summary | None) -> float:
    return math.nan if summary is None or summary.std is None else summary.std


def _final_values(record: TrialRecord, metric: str) -> list[float]:
    """Values at the end of a completed trial, and those of the replicates that survived in a diverged one."""
    if record.last is None or record.status not in (Status.COMPLETED, Status.DIVERGED):
        return []
    return [value for value in record.last.metrics.get(metric, []) if value is not None]


def _frame(axes: Axes, places: Sequence[_Place], *, categorical: bool) -> None:
    xs = [place.x for place in places]
    if categorical:
        axes.set_xlim(-0.5, len(xs) - 0.5)
    elif len(xs) > 1:
        # Lost trials at either end need their place although nothing is drawn there.
        log = axes.get_xscale() == "log"
        low, high = (math.log10(min(xs)), math.log10(max(xs))) if log else (min(xs), max(xs))
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
        axes.set_xlim(*(10**limit for limit in limits) if log else limits)
    style.tick_values(axes, xs, [place.text for place in places])


def _mark_lost(axes: Axes, all_series: Sequence[_Series]) -> list[Line2D]:
    """Marks trials without a final mean at the top edge; returns the legend's entries."""
    handles = []
    for status in style.LOST:
        xs = sorted({place.x for s in all_series for place, record in s.records if record.status == status})
        if xs:
            style.mark_lost(axes, status, xs)
            handles.append(style.lost_handle(status))
    return handles


def _handles(all_series: Sequence[_Series], *, with_means: bool, connected: bool) -> list[Line2D]:
    dot = Line2D([], [], color=all_series[0].colour, alpha=0.5, marker="o", markersize=2.5, linestyle="none")
    dot.set_label("replicate")
    return [*(_mean_handle(series, connected=connected) for series in all_series if with_means), dot]


def _mean_handle(series: _Series, *, connected: bool) -> Line2D:
    handle = Line2D([], [], color=series.colour, marker=series.marker, markersize=3.5)
    handle.set_linestyle("-" if connected else "none")
    handle.set_label(style.escaped(series.label or "mean"))
    return handle


def _columns(all_series: Sequence[_Series]) -> int:
    """Columns of the legend: long labels get room."""
    return 4 if len(all_series) == 1 or max(len(s.label) for s in all_series) < 16 else 2
