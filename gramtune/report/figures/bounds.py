"""The bounds behind a verdict: how much worse than the best each value of a key may be, and the tolerance as a band."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.report.figures import style

_WIDTH = 0.5
"""Width of the bars of all methods together, as a share of the distance between two values."""


def bounds_figure(state: SweepState, key: str) -> Figure | None:
    """The bounds `Finding.low` and `high` of the relative loss of each value of a key; None without a verdict.

    A bar goes from the lower bound (simultaneous for all values) to the upper bound that INSENSITIVE requires. The dot
    is the geometric mean relative to the lowest one. Hollow dots are open values; symbols at the top edge are values
    that diverged.
    """
    rows = [row for row in verdicts(state) if row.key == key and row.finding]
    if not rows:
        return None
    figure, axes = style.column_figure(state, "worse than the best by")
    tolerance = 100 * state.plan.sweep.tolerance
    axes.axhspan(0, tolerance, color="#000000", alpha=0.07, linewidth=0, gid="tolerance")
    texts = list(dict.fromkeys(text for row in rows for text in row.values))
    for i, row in enumerate(rows):
        shift = _WIDTH * ((i + 0.5) / len(rows) - 0.5) if len(rows) > 1 else 0.0
        _draw(axes, row, [texts.index(text) + shift for text in row.values], _colour(i))
    axes.set_xlim(-0.5, len(texts) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(texts)), [style.escaped(text) for text in texts])
    style.label_x(axes, key)
    axes.yaxis.label.set_text(f"loss above the best, %\n(band: tolerance {tolerance:g} %)")
    handles = [
        Line2D([], [], color=_colour(i), marker="o", markersize=3.5, linewidth=1, label=_label(row))
        for i, row in enumerate(rows)
    ]
    style.legend(figure, handles, columns=1 if len(rows) < 3 else 2)
    return figure


def _draw(axes: Axes, row: KeyVerdict, xs: Sequence[float], colour: str) -> None:
    assert row.finding is not None
    means = [_mean(losses) for losses in row.losses]
    least = min(mean for mean in means if mean is not None)
    lost = [x for x, why in zip(xs, row.diverged, strict=True) if why]
    for i, (x, mean) in enumerate(zip(xs, means, strict=True)):
        low, high = row.finding.low[i], row.finding.high[i]
        if mean is None or math.isinf(low):
            continue
        centre = 100 * math.expm1(mean - least)
        ends = (100 * math.expm1(low), 100 * math.expm1(high) if math.isfinite(high) else centre)
        axes.plot([x, x], ends, color=colour, linewidth=1, gid="bounds")
        face = "white" if i in row.finding.open else colour
        axes.plot([x], [centre], "o", markersize=3.5, color=colour, markerfacecolor=face, gid="mean")
    if lost:
        style.mark_lost(axes, Status.DIVERGED, lost)


def _mean(losses: Sequence[float]) -> float | None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else None


def _colour(i: int) -> str:
    return style.OKABE_ITO[i % len(style.OKABE_ITO)]


def _label(row: KeyVerdict) -> str:
    assert row.finding is not None
    return style.escaped(f"{row.method}: {row.finding.verdict}" if row.method else str(row.finding.verdict))
