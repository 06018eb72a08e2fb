"""Generated images and their nearest real images (the paper's Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gramtune.analysis.labels import assignment_text
from gramtune.analysis.nearest_images import NearestImages, Neighbours
from gramtune.record.state import TrialRecord
from gramtune.report.figures import style

_PANEL = 0.62
"""Width in inches of an image with the gap after it."""
_GAP = 8
"""The gap between images is 1/8 of an image's width."""


def nearest_figure(record: TrialRecord, found: NearestImages, sweep: str) -> Figure:
    """A column per sample: the sample, its nearest training images, its nearest held-out ones, each with its distance.

    Samples of a generator that memorised its training set are nearer to that set than to held-out images. The figure
    states how many samples are, and how many are expected without memorisation: the training set's share of all images.
    """
    n, k = len(found.samples), found.train.images.shape[1]
    figure = style.sheet(n * _PANEL + 0.9, (1 + 2 * k) * (_PANEL + 0.15) + 0.9)
    rows = iter(figure.subplots(1 + 2 * k, 1, squeeze=False)[:, 0])
    _show(next(rows), found.samples, [""] * n, "sample")
    for side, label in ((found.train, "training"), (found.held_out, "held-out")):
        for rank in range(k):
            _show(next(rows), side.images[:, rank], [f"{d:.1f}" for d in side.distances[:, rank]], label)
    style.title(figure, *_title(record, found, sweep))
    return figure


def _show(axes: Axes, images: NDArray[np.uint8], texts: Sequence[str], label: str) -> None:
    """Draws a row of images with a text below each, as one picture: many axes are slow to draw."""
    height, width = images.shape[1:3]
    gap = max(1, width // _GAP)
    strip = np.full((height, len(images) * (width + gap) - gap, *images.shape[3:]), 255, np.uint8)
    starts = [i * (width + gap) for i in range(len(images))]
    for start, image in zip(starts, images, strict=True):
        strip[:, start : start + width] = image
    style.picture(axes, strip)
    axes.set_gid(label)
    axes.set_ylabel(label, fontsize=style.SMALL - 1)
    axes.set_xticks([start + (width - 1) / 2 for start in starts], texts, fontsize=style.SMALL - 1)
    axes.tick_params(length=0, pad=1)


def _title(record: TrialRecord, found: NearestImages, sweep: str) -> list[str]:
    n, sizes = len(found.samples), (found.train.of, found.held_out.of)
    closer = int((_closest(found.train) < _closest(found.held_out)).sum())
    by_chance = n * sizes[0] / sum(sizes)
    return [
        f"{sweep}: {assignment_text(record.assignment)}; replicate {found.replicate}, step {found.step:,}",
        "nearest images by pixels; number: root mean square difference of grey values (0 to 255)",
        f"{closer} of {n} samples are nearer to one of the {sizes[0]:,} training images than to any of the "
        f"{sizes[1]:,} held-out ones; {by_chance:.1f} expected without memorisation",
    ]


def _closest(side: Neighbours) -> NDArray[np.floating]:
    nearest: NDArray[np.floating] = side.distances[:, 0]
    return nearest
