"""Samples from the same noise during training, with the traces below (the paper's Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gramtune.analysis.labels import assignment_text, count
from gramtune.record.state import TrialRecord
from gramtune.report.figures import style
from gramtune.report.figures.traces import draw_traces

_WIDTH = 5.0


def image_training_figure(record: TrialRecord, strips: Mapping[int, NDArray[np.uint8]], sweep: str) -> Figure:
    """One row of images per step, one column per noise vector; `strips`: the tiled row of replicate 0, by step."""
    height, width = next(iter(strips.values())).shape[:2]
    row = (_WIDTH - 0.7) * height / width
    figure = style.sheet(_WIDTH, len(strips) * (row + 0.04) + 2.2)
    grid = figure.add_gridspec(len(strips) + 1, 1, height_ratios=[row] * len(strips) + [1.3])
    for i, (step, strip) in enumerate(strips.items()):
        axes = figure.add_subplot(grid[i, 0])
        style.picture(axes, strip)
        axes.set_gid(f"step {step}")
        axes.set_ylabel(f"{step:,}", fontsize=style.SMALL, rotation=0, ha="right", va="center")
    style.legend_below(figure, draw_traces(style.trace_axes(figure, grid[len(strips), 0]), record))
    replicates = count(record.trial.config.training.replicates, "replicate")
    style.title(
        figure,
        f"{sweep}: {assignment_text(record.trial.assignment)} ({record.status})",
        f"replicate 0 of {replicates}: samples by training step, same noise in each column",
    )
    return figure
