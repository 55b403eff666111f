"""Classes in the plane, readable without colour: every class is also labelled at its middle."""

from __future__ import annotations

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style

NAMED = 10
"""With more classes than this, labels would only cover the points."""
APART = 0.075
"""The least distance of two labels, as a share of the figure."""
PUSHES = 60

Points = NDArray[np.floating]


def scatter_classes(axes: Axes, points: Points, labels: NDArray[np.integer]) -> None:
    """Draw `points` `[N, 2]` coloured by `labels` `[N]`, classes numbered from 0. The limits become final."""
    # One call in the order of the data: classes drawn one by one would hide each other.
    colours = np.array(style.class_colours(int(labels.max()) + 1))
    axes.scatter(points[:, 0], points[:, 1], c=colours[labels], s=4, alpha=0.6, linewidths=0)
    axes.grid(False)
    name_classes(axes, points, labels)


def name_classes(axes: Axes, points: Points, labels: NDArray[np.integer]) -> None:
    """Write each class's number at the median of its points; labels that are too close are moved apart."""
    classes = np.unique(labels)
    if not 1 < len(classes) <= NAMED:
        return
    # Matplotlib sets limits that follow the data only when they are read.
    axes.autoscale_view()
    middles = axes.transLimits.transform([np.median(points[labels == each], axis=0) for each in classes])
    colours = style.class_colours(int(classes.max()) + 1)
    halo = [matplotlib.patheffects.withStroke(linewidth=3, foreground="white")]
    for each, (x, y) in zip(classes, spread(middles), strict=True):
        axes.text(
            x,
            y,
            str(each),
            transform=axes.transAxes,
            color=style.shade(colours[each], 1.5),
            fontsize=style.LARGE,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=halo,
        )


def spread(middles: Points) -> Points:
    """Move points `[N, 2]` of the unit square that are nearer than `APART` away from each other."""
    moved = np.array(middles, dtype=np.float64)
    for _ in range(PUSHES):
        gap = moved[:, None] - moved[None]
        distance = np.linalg.norm(gap, axis=2)
        np.fill_diagonal(distance, np.inf)
        lacking = np.maximum(APART - distance, 0) / np.maximum(distance, 1e-9)
        moved += 0.5 * (gap * lacking[:, :, None]).sum(1)
    return moved
