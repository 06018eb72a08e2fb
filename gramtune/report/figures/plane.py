"""Draws point sets of any dimension in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gramtune.report.figures import style

Points = NDArray[np.floating]
DATA_COLOUR, SAMPLE_COLOUR = style.OKABE_ITO[0], style.OKABE_ITO[1]


def in_plane(real: Points, fake: Points) -> tuple[Points, Points]:
    """Maps both point sets from [N, d] to [N, 2] and drops points that are not finite (a diverged critic gives such).

    d = 2: unchanged. d = 1: along x, data below the samples. d > 2: the first two principal components of data and
    samples together; the sign of each is chosen so that its largest weight is positive.
    """
    real, fake = (points[np.isfinite(points).all(axis=1)].astype(float) for points in (real, fake))
    if real.shape[1] == 1:
        return np.pad(real, ((0, 0), (0, 1))), np.pad(fake, ((0, 0), (0, 1)), constant_values=((0, 0), (0, 1)))
    if real.shape[1] == 2:
        return real, fake
    both = np.concatenate((real, fake))
    if len(both) < 2:  # too few points for principal components
        return real[:, :2], fake[:, :2]
    centre = both.mean(axis=0)
    axes = np.linalg.svd(both - centre, full_matrices=False)[2][:2]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return (real - centre) @ axes.T, (fake - centre) @ axes.T


def plane_text(dim: int) -> str:
    """Describes the output of `in_plane` for a caption."""
    return {1: "1 dimension, data below, samples above", 2: "2 dimensions"}.get(
        dim, f"first two principal components of {dim} dimensions"
    )


def scatter(axes: Axes, real: Points, fake: Points, *, size: float) -> None:
    """Draws the samples over the data, with equal units on both axes."""
    for points, colour, gid in ((real, DATA_COLOUR, "data"), (fake, SAMPLE_COLOUR, "samples")):
        axes.scatter(
            points[:, 0], points[:, 1], s=size, color=colour, alpha=0.4, linewidths=0, rasterized=True, gid=gid
        )


def frame(axes: Axes, points: Points, margin: float) -> None:
    """Sets limits that contain the points, if there are any, and a square box."""
    axes.set_box_aspect(1)
    if not len(points):
        return
    low, high = points.min(axis=0), points.max(axis=0)
    half = max((high - low).max() / 2, 1e-9) * (1 + margin)
    x, y = (low + high) / 2
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y - half, y + half)


def outside(axes: Axes, points: Points) -> int:
    """How many of the points lie outside the axes' limits."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    x, y = points[:, 0], points[:, 1]
    return int(((x < left) | (x > right) | (y < low) | (y > high)).sum())
