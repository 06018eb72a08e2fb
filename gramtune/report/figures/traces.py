"""Traces of one trial over training: the quantities that it minimises and maximises (the paper's Fig. 1b and 7b)."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gramtune.analysis.labels import count
from gramtune.record.state import TrialRecord
from gramtune.report.figures import style

_SHOWN = {
    "trace/mmd2": "MMD²",
    "trace/pearson_divergence": "PD, as the critic sees it",
    "trace/data_pearson_divergence": "PD, of the points",
    "trace/d_star": "D*",
    "loss/generator": "generator's loss",
    "loss/critic": "critic's loss",
}
_PAPER = ("trace/mmd2", "trace/pearson_divergence", "trace/data_pearson_divergence", "trace/d_star")


def draw_traces(axes: Axes, record: TrialRecord) -> list[Line2D]:
    """Draws MMD² and, if recorded, PD and D*: the mean over replicates, with their range as a band.

    An objective without these traces gets its losses. Step 0 is left out, because the axis is logarithmic. Returns the
    lines, for a legend.
    """
    known = {key for report in record.reports.values() for key in report.traces}
    keys = [key for key in _PAPER if key in known] or [key for key in _SHOWN if key in known]
    lines = [line for i, key in enumerate(keys) for line in _draw(axes, record, key, style.OKABE_ITO[i])]
    axes.set_xscale("log")
    if lines:
        steps, values = (np.concatenate([line.get_data()[i] for line in lines]) for i in (0, 1))
        style.plain_log_ticks(axes.xaxis, math.log10(steps.max() / steps.min()))
        if keys[0] in _PAPER or values.min() > 0:  # rounding can make MMD² negative; such values are left out
            axes.set_yscale("log", nonpositive="mask")
    total = record.trial.config.training.replicates
    missing = any(None in report.traces.get(key, []) for report in record.reports.values() for key in keys)
    upto = "up to " if missing else ""
    style.label_x(axes, f"training steps (mean and range of {upto}{count(total, 'replicate')})")
    return lines


def _draw(axes: Axes, record: TrialRecord, key: str, colour: str) -> list[Line2D]:
    """Draws one trace over the replicates that have a value; returns no line if none has."""
    reports = [report for step, report in sorted(record.reports.items()) if step > 0]
    rows = [(report.step, [v for v in report.traces.get(key, []) if v is not None]) for report in reports]
    rows = [(step, values) for step, values in rows if values]
    if not rows:
        return []
    steps, means = [step for step, _ in rows], [fmean(values) for _, values in rows]
    low, high = [min(values) for _, values in rows], [max(values) for _, values in rows]
    axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    look: dict[str, Any] = {"marker": ".", "markersize": 3, "linewidth": 1.1, "color": colour}
    return axes.plot(steps, means, label=_SHOWN[key], gid=key, **look)
