"""Two metrics against each other: every completed trial, and the Pareto front."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.labels import direction_text
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style

_OTHER, _FRONT = style.OKABE_ITO[5], style.OKABE_ITO[1]


def front_figure(state: SweepState) -> Figure:
    """Mean ± std of the first metric on x and of the second on y; the Pareto front in another colour, as a staircase.

    The staircase bounds the region that the front dominates. Raises ValueError for a sweep of one metric.
    """
    first, second = state.plan.metrics
    figure, axes = style.column_figure(state)
    style.label_x(axes, f"{first} ({direction_text(state, first)})")
    axes.yaxis.label.set_text(style.escaped(f"{second} ({direction_text(state, second)})"))
    front = state.front
    others = [record for record in state.completed if record not in front]
    _draw(axes, state, others, _OTHER, "other")
    _draw(axes, state, front, _FRONT, "front")
    _steps(axes, state, front)
    if not front:
        style.say_empty(axes)
    handles = [_handle("on the Pareto front", _FRONT), _handle("other completed trial", _OTHER)]
    style.legend(figure, handles if others else handles[:1])
    return figure


def _draw(axes: Axes, state: SweepState, records: list[TrialRecord], colour: str, gid: str) -> None:
    first, second = state.plan.metrics
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
