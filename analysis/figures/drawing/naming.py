"""Short labels next to points, placed so that none covers a point, a line or another label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style

PLACES = ((0, 10), (0, -10), (8, 0), (-8, 0), (6, 8), (-6, 8), (6, -8), (-6, -8))
"""Positions of a label as offsets from its point in points of type, the best first."""
RINGS = (1.0, 1.6, 2.4, 3.4, 4.6, 6.0)
"""Factors of the offsets: first close to the point, then further away."""
LEADER = 2.0
"""From this factor on, a line joins the label and its point."""
POINT, LINE = 5.0, 1.0
"""Half of the width of a marker and of a line, in points."""

Boxes = NDArray[np.float64]
"""`[N, 4]`: left, bottom, right and top, in pixels."""


def name_points(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Write each name at the first free position next to its point; if none is free, at the closest.

    Scale, limits and legends of the figure must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    markers = axes.transData.transform(np.array(points, dtype=np.float64).reshape(-1, 2))
    taken = np.concatenate([_squares(markers, POINT * pixels), _squares(_on_lines(axes), LINE * pixels)])
    frame = np.array(axes.get_window_extent().extents)
    for point, name, colour in zip(points, names, colours, strict=True):
        text = _write(axes, name, point, colour)
        box = text.get_window_extent()
        places = _places(box.width / pixels)
        boxes = np.array([_box(box, place, pixels) for place in places])
        place = int(np.argmin([_overlaps(each, taken) or _leaves(each, frame) for each in boxes]))
        text.set_position(places[place])
        if RINGS[place // len(PLACES)] >= LEADER:
            _lead(axes, point, places[place], colour)
        taken = np.concatenate([taken, boxes[place : place + 1]])


def _write(axes: Axes, name: str, point: tuple[float, float], colour: str) -> Annotation:
    halo = [matplotlib.patheffects.withStroke(linewidth=2, foreground="white")]
    return axes.annotate(
        name,
        point,
        textcoords="offset points",
        xytext=(0, 0),
        color=colour,
        fontsize=style.SMALL,
        ha="center",
        va="center",
        path_effects=halo,
    )


def _lead(axes: Axes, point: tuple[float, float], place: tuple[float, float], colour: str) -> None:
    """Draw a thin line from a point towards its name, under both."""
    axes.annotate(
        "",
        point,
        textcoords="offset points",
        xytext=(0.7 * place[0], place[1]),
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "alpha": 0.7},
        zorder=1,
    )


def _places(width: float) -> list[tuple[float, float]]:
    """Return the offsets of a label's middle; to the side, it is clear of the point by half of its width."""
    return [(x * ring + np.sign(x) * width / 2, y * ring) for ring in RINGS for x, y in PLACES]


def _box(box: Bbox, place: tuple[float, float], pixels: float) -> Boxes:
    moved = box.translated(place[0] * pixels, place[1] * pixels)
    return np.array(moved.extents)


def _squares(middles: NDArray[np.float64], reach: float) -> Boxes:
    return np.concatenate([middles - reach, middles + reach], axis=1)


def _on_lines(axes: Axes) -> NDArray[np.float64]:
    """Return pixels along every line and error bar, so close together that no label fits between them."""
    paths = [
        line.get_transform().transform(np.asarray(line.get_xydata(), dtype=np.float64))
        for line in axes.lines
        if line.get_linestyle() != "None"
    ]
    for bars in axes.collections:
        if isinstance(bars, LineCollection):
            paths += [bars.get_transform().transform(segment) for segment in bars.get_segments()]
    parts = [np.linspace(a, b, 60) for path in paths for a, b in pairwise(path)]
    return np.concatenate([np.empty((0, 2)), *parts])


def _overlaps(box: Boxes, taken: Boxes) -> bool:
    left, bottom, right, top = box
    apart = (taken[:, 0] > right) | (taken[:, 2] < left) | (taken[:, 1] > top) | (taken[:, 3] < bottom)
    return not bool(apart.all())


def _leaves(box: Boxes, frame: Boxes) -> bool:
    return bool((box[:2] < frame[:2]).any() or (box[2:] > frame[2:]).any())
