"""Many small images as one, so that a figure of hundreds is drawn at once."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

GAP = 2
"""White pixels between images."""

Images = NDArray[np.uint8]


def tile(images: Images, columns: int) -> Images:
    """Arrange images `[N, C, H, W]`, C = 1 or 3, by rows in one RGB image `[rows (H + gap) + gap, …, 3]`."""
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {channels}")
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    return canvas


def show(axes: Axes, canvas: Images) -> None:
    """Show an image on axes that have nothing else."""
    axes.imshow(canvas, interpolation="antialiased", aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
