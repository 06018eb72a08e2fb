"""Parallel coordinates: every completed trial of a joint sweep as a line through its values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from gramtune.analysis.labels import direction_text, leaves
from gramtune.analysis.series import Axis, axis_of, spans
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style

_KEY_WIDTH = 0.85
"""Inches from one axis to the next."""


def parallel_figure(state: SweepState) -> Figure | None:
    """One vertical axis per varied key, one line per completed trial; better trials are darker and lie on top.

    None where no trial has completed.
    """
    metric = state.plan.metric
    scored = [(s.mean, record) for record in state.completed if (s := record.summary(metric))]
    if not scored:
        return None
    keys = list(state.plan.sweep.space)
    figure, axes = style.column_figure(state)
    figure.set_figwidth(max(style.WIDTH, _KEY_WIDTH * len(keys) + 1))
    axes.grid(visible=False)
    axes.set_ylabel("")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    scales = {key: axis_of(state, key) for key in keys}
    for x, key in enumerate(keys):
        _draw_axis(axes, x, scales[key])
    axes.set_xticks(range(len(keys)), [style.escaped(name) for name in leaves(keys).values()], rotation=20, ha="right")
    axes.set_xlim(-0.3, len(keys) - 0.3)
    _draw_trials(figure, axes, state, scored, scales)
    return figure


def _draw_trials(
    figure: Figure,
    axes: Axes,
    state: SweepState,
    scored: Sequence[tuple[float, TrialRecord]],
    scales: dict[str, Axis],
) -> None:
    metric = state.plan.metric
    means = [mean for mean, _ in scored]
    norm = (LogNorm if spans(means, 1) else Normalize)(min(means), max(means))
    least = state.plan.config.directions[metric] == "min"
    colours = ScalarMappable(norm, colormaps["viridis" if least else "viridis_r"])
    for mean, record in sorted(scored, key=lambda pair: pair[0], reverse=least):
        values = record.trial.assignment
        has = [(x, axis, axis.place(values[key])) for x, (key, axis) in enumerate(scales.items()) if key in values]
        axes.plot(
            [x for x, _, _ in has],
            [_scaled(axis, place.x) for _, axis, place in has],
            color=colours.cmap(norm(mean)),
            linewidth=1.1,
            marker=".",
            markersize=3,
            gid=record.trial.name,
        )
    style.colour_bar(figure, axes, colours, f"{metric} ({direction_text(state)})")


def _draw_axis(axes: Axes, x: int, axis: Axis) -> None:
    axes.axvline(x, color="0.7", linewidth=0.8, zorder=0)
    places = axis.places if len(axis.places) <= 6 else (axis.places[0], axis.places[-1])
    for place in places:
        axes.annotate(
            style.escaped(place.text),
            (x, _scaled(axis, place.x)),
            xytext=(2, 0),
            textcoords="offset points",
            fontsize=5.5,
            va="center",
            color="0.25",
        )


def _scaled(axis: Axis, x: float) -> float:
    low, high = axis.ends
    if low == high:
        return 0.5
    if axis.log:
        return math.log(x / low) / math.log(high / low)
    return (x - low) / (high - low)
