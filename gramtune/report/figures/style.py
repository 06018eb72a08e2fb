"""Shared style of the figures: size, colours, symbols, axes. Does not use pyplot, which has global state."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from gramtune.analysis.labels import basis_text, direction_text
from gramtune.analysis.series import spans
from gramtune.record.report import Status
from gramtune.record.state import SweepState

WIDTH, HEIGHT = 3.4, 2.8
"""Inches: one column of a two-column paper."""
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00")
"""Okabe and Ito's colours, safe for colour-blind readers; the yellow is darkened to be visible on white."""
MARKERS = "osD^vPX*"
LOST = {Status.DIVERGED: "^", Status.FAILED: "X", Status.PRUNED: "v", Status.PAUSED: "<", Status.STOPPED: "s"}
"""Symbols of trials without a final value."""
_LOST_COLOUR = "#B00000"
TEXT, SMALL = 8, 7
"""Font sizes in points: labels, and everything else."""
_ROW = 0.12
"""Height in inches of a row of the legend."""
_LEFT = 0.5
"""Inches left of the axes, for labels."""


def column_figure(state: SweepState, shown: str = "mean ± std") -> tuple[Figure, Axes]:
    """An empty figure of column width; its title says what is shown, and the numbers of replicates and samples."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    text = _wrapped([f"{state.plan.sweep.name}: {shown}", basis_text(state)], WIDTH - _LEFT)
    axes.set_title(text, fontsize=SMALL, loc="left")
    plain_axes(axes)
    axes.set_ylabel(f"{state.plan.metric} ({direction_text(state)})", fontsize=TEXT)
    return figure, axes


def plain_axes(axes: Axes) -> None:
    """Small ticks, horizontal grid lines, and no frame on the right and above."""
    axes.tick_params(which="both", labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)


def sheet(width: float, height: float) -> Figure:
    """An empty figure for many panels; `width` and `height` in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def title(figure: Figure, *lines: str) -> None:
    """Sets the title at the top left and wraps long lines."""
    figure.suptitle(escaped(_wrapped(lines, figure.get_figwidth())), fontsize=SMALL, x=0.01, ha="left")


def _wrapped(lines: Sequence[str], inches: float) -> str:
    """Small text, wrapped to a width; 17 characters fit in an inch."""
    return "\n".join(part for line in lines for part in textwrap.wrap(line, int(17 * inches)))


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Adds a legend below all panels."""
    columns = max(1, int(figure.get_figwidth()))
    size = SMALL - 0.5
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=size, frameon=False)


def trace_axes(figure: Figure, place: SubplotSpec) -> Axes:
    """Axes for traces below the panels."""
    axes = figure.add_subplot(place)
    small_ticks(axes)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def small_ticks(axes: Axes) -> None:
    """Makes the tick labels of a panel small."""
    axes.tick_params(which="both", labelsize=SMALL - 1, length=2, pad=1)


def picture(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Draws an image without interpolation: [H, W] in grey, or [H, W, 3]."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def corner(axes: Axes, text: str) -> None:
    """Writes a short text in the upper left corner of a panel."""
    axes.text(0.03, 0.97, text, transform=axes.transAxes, ha="left", va="top", fontsize=SMALL - 1.5, gid="corner")


def banner(axes: Axes, text: str) -> None:
    """Writes a trial's status across its panel, for trials that are not completed."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    axes.text(
        0.5,
        0.06,
        text,
        transform=axes.transAxes,
        ha="center",
        fontsize=SMALL - 2,
        color=_LOST_COLOUR,
        bbox=box,
        gid="status",
    )


def label_x(axes: Axes, text: str) -> None:
    """Sets the label of the x axis."""
    axes.set_xlabel(escaped(text), fontsize=TEXT)


def legend(figure: Figure, handles: Sequence[Line2D], title: str | None = None, columns: int = 4) -> None:
    """Adds a legend below the axes; the figure grows with the number of rows."""
    if handles:
        rows = math.ceil(len(handles) / columns) + (title is not None)
        figure.set_figheight(HEIGHT + _ROW * max(0, rows - 3))
        figure.legend(
            handles=handles,
            title=None if title is None else escaped(title),
            loc="outside lower center",
            ncols=min(columns, len(handles)),
            fontsize=SMALL - 1,
            title_fontsize=SMALL - 1,
            frameon=False,
            handlelength=2.2,  # room for a dash and a dot
            columnspacing=1.0,
            handletextpad=0.4,
        )


def say_empty(axes: Axes) -> None:
    """Writes into empty axes that no trial has a value."""
    axes.text(0.5, 0.5, "no trial has a value", transform=axes.transAxes, ha="center", va="center", fontsize=TEXT)


def mark_lost(axes: Axes, status: Status, x: Sequence[float], colour: str = _LOST_COLOUR) -> None:
    """Marks trials without a final value at the top edge."""
    axes.plot(
        x,
        [1.0] * len(x),
        LOST[status],
        color=colour,
        markersize=5,
        clip_on=False,
        zorder=5,
        transform=axes.get_xaxis_transform(),
        gid=status.value,
    )


def lost_handle(status: Status, colour: str = _LOST_COLOUR) -> Line2D:
    """The legend's entry for `mark_lost`."""
    return Line2D([], [], color=colour, marker=LOST[status], linestyle="none", markersize=5, label=status.value)


def mark_end(axes: Axes, status: Status, x: float, y: float, colour: Any) -> None:
    """Marks the end of the curve of a trial that did not complete."""
    axes.plot([x], [y], LOST[status], color=colour, markersize=5, zorder=5, gid=status.value)


def colour_bar(figure: Figure, axes: Axes, scale: ScalarMappable, text: str) -> None:
    """Adds a colour bar beside the axes."""
    bar = figure.colorbar(scale, ax=axes, pad=0.02)
    bar.set_label(escaped(text), fontsize=SMALL)
    bar.ax.tick_params(which="both", labelsize=SMALL)
    if isinstance(scale.norm, LogNorm) and scale.norm.vmin and scale.norm.vmax:
        plain_log_ticks(bar.ax.yaxis, math.log10(scale.norm.vmax / scale.norm.vmin))


def scale_y(axes: Axes, values: Iterable[float]) -> None:
    """Makes the y axis logarithmic if the values are positive and span more than 1.5 decades."""
    known = list(values)
    if not spans(known, 1.5):
        return
    axes.set_yscale("log", nonpositive="clip")
    low, high = math.log10(min(known)), math.log10(max(known))
    margin = 0.06 * (high - low)
    axes.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    plain_log_ticks(axes.yaxis, high - low)


def plain_log_ticks(axis: Axis, decades: float) -> None:
    """Labels 1, 2, 5, 10, … on a logarithmic axis of fewer than 3 decades; plain powers of ten are too few there."""
    axis.set_minor_formatter(NullFormatter())
    if decades < 3:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def tick_values(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """Sets ticks at the values of the trials; leaves out labels that would touch their left neighbour."""
    to_axes = axes.transData.transform
    left, right = (to_axes((x, axes.get_ylim()[1]))[0] for x in axes.get_xlim())
    labels, edge = [], -math.inf
    for place, text in sorted(zip(places, texts, strict=True)):
        centre = (to_axes((place, axes.get_ylim()[1]))[0] - left) / (right - left)
        half = 0.011 * len(text)  # width of half a character as a fraction of the axis
        fits = centre - half > edge
        labels.append(escaped(text) if fits else "")
        edge = centre + half + 0.01 if fits else edge
    axes.xaxis.set_major_locator(FixedLocator(sorted(places)))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.set_xticks(sorted(places), labels)


def escaped(text: str) -> str:
    """Escapes dollars: matplotlib would typeset text between two dollars as mathematics."""
    return text.replace("$", r"\$")
