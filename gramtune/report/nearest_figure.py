"""Generated images and the real ones that are nearest to them (the paper's Fig. 4)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gramtune.report import style
from gramtune.report.labels import assignment_text
from gramtune.sweep.nearest_images import NearestImages, Neighbours
from gramtune.sweep.state import TrialRecord

_PANEL = 0.62


def nearest_figure(record: TrialRecord, found: NearestImages, sweep: str) -> Figure:
    """A column per sample: the sample, its nearest training images, its nearest held-out ones, each with its distance.

    A generator that repeats its training set is nearer to that than to images that it has never seen. The figure says
    how often this is so, and how often where the sets are exchangeable: the share of the training set in both.
    """
    n, k = len(found.samples), found.train.images.shape[1]
    figure = style.sheet(n * _PANEL + 0.9, (1 + 2 * k) * (_PANEL + 0.15) + 0.9)
    panels = figure.subplots(1 + 2 * k, n, squeeze=False)
    for column in range(n):
        _show(panels[0, column], found.samples[column], "", "sample")
        for first, side, label in ((1, found.train, "training"), (1 + k, found.held_out, "held-out")):
            for rank in range(k):
                text = f"{side.distances[column, rank]:.1f}"
                _show(panels[first + rank, column], side.images[column, rank], text, label)
    for row, label in enumerate(["sample", *["training"] * k, *["held-out"] * k]):
        panels[row, 0].set_ylabel(label, fontsize=style.SMALL - 1)
    style.title(figure, *_title(record, found, sweep))
    return figure


def _show(axes: Axes, image: NDArray[np.uint8], text: str, gid: str) -> None:
    style.picture(axes, image)
    axes.set_gid(gid)
    axes.set_xlabel(text, fontsize=style.SMALL - 1, labelpad=1)


def _title(record: TrialRecord, found: NearestImages, sweep: str) -> list[str]:
    n, sizes = len(found.samples), (found.train.of, found.held_out.of)
    closer = int((_closest(found.train) < _closest(found.held_out)).sum())
    by_chance = n * sizes[0] / sum(sizes)
    return [
        f"{sweep}: {assignment_text(record.trial.assignment)}; replicate {found.replicate}, step {found.step:,}",
        "nearest images by pixels; number: root mean square difference of grey values (0 to 255)",
        f"{closer} of {n} samples are nearer to one of the {sizes[0]:,} training images than to any of the "
        f"{sizes[1]:,} held-out ones; {by_chance:.1f} are expected of a generator that repeats nothing",
    ]


def _closest(side: Neighbours) -> NDArray[np.floating]:
    nearest: NDArray[np.floating] = side.distances[:, 0]
    return nearest
