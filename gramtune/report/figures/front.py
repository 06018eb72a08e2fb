"""The optimised metrics against each other, a panel per pair: every completed trial, and the Pareto front."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.labels import basis_text, direction_text
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style

_OTHER, _FRONT = style.OKABE_ITO[5], style.OKABE_ITO[1]


def front_figure(state: SweepState) -> Figure:
    """Mean ± std of two metrics on x and y, a panel per pair; the Pareto front of all metrics in another colour.

    With two metrics a staircase bounds the region that the front dominates.
    """
    pairs = list(combinations(state.plan.metrics, 2))
    figure, panels = _panels(state, len(pairs))
    front = state.front
    others = [record for record in state.completed if record not in front]
    for axes, pair in zip(panels, pairs, strict=True):
        labels = [style.escaped(f"{metric} ({direction_text(state, metric)})") for metric in pair]
        axes.set_xlabel(labels[0], fontsize=style.TEXT)
        axes.set_ylabel(labels[1], fontsize=style.TEXT)
        _draw(axes, others, pair, _OTHER, "other")
        _draw(axes, front, pair, _FRONT, "front")
        if len(pairs) == 1:
            _steps(axes, state, front)
        if not front:
            style.say_empty(axes)
    handles = [_handle("on the Pareto front", _FRONT), _handle("other completed trial", _OTHER)]
    handles = handles if others else handles[:1]
    if len(pairs) == 1:
        style.legend(figure, handles)
    else:
        style.legend_below(figure, handles)
    return figure


def _panels(state: SweepState, n: int) -> tuple[Figure, list[Axes]]:
    """A figure with n empty panels, at most three in a row."""
    if n == 1:
        figure, axes = style.column_figure(state)
        return figure, [axes]
    across, down = min(3, n), math.ceil(n / 3)
    figure = style.sheet(style.WIDTH * across, style.HEIGHT * down + 0.5)
    style.title(figure, f"{state.plan.sweep.name}: mean ± std, {basis_text(state)}")
    panels = [figure.add_subplot(down, across, i + 1) for i in range(n)]
    for axes in panels:
        style.plain_axes(axes)
    return figure, panels


def _draw(axes: Axes, records: list[TrialRecord], pair: tuple[str, str], colour: str, gid: str) -> None:
    first, second = pair
    pairs = [(x, y) for r in records if (x := r.summary(first)) and (y := r.summary(second))]
    if pairs:
        axes.errorbar(
            [x.mean for x, _ in pairs],
            [y.mean for _, y in pairs],
            [y.std or 0.0 for _, y in pairs],
            [x.std or 0.0 for x, _ in pairs],
            linestyle="none",
            marker="o",
            markersize=3.5,
            elinewidth=0.8,
            color=colour,
            gid=gid,
        )


def _steps(axes: Axes, state: SweepState, front: list[TrialRecord]) -> None:
    """Draws the staircase: it turns at the worse values of two neighbours, and points beyond it are dominated."""
    first, second = state.plan.metrics
    pairs = [(x.mean, y.mean) for r in front if (x := r.summary(first)) and (y := r.summary(second))]
    where: Literal["post", "pre"] = "post" if state.plan.config.directions[first] == "min" else "pre"
    pairs.sort()
    if len(pairs) > 1:
        axes.step([x for x, _ in pairs], [y for _, y in pairs], where=where, color=_FRONT, linewidth=0.8, gid="steps")


def _handle(label: str, colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=3.5, linestyle="none", label=label)
