"""The decoded plane of two-dimensional codes, and each class's share of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.scatter import name_classes
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

IMAGES, CLASSES = "coverage/plane_images", "coverage/plane_class"
AREA, EXTENT = "coverage/class_area", "coverage/plane_extent"

SLIVER = 0.01


@figure(
    "decoded_planes",
    title="Two-dimensional latent spaces, decoded",
    caption="The plane of each two-dimensional code, decoded point by point and coloured by the class that "
    "the classifier predicts. The title gives the largest and the smallest share of a class, weighted by "
    "the Gaussian with the codes' mean and covariance, which is how often samples show it.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model with a two-dimensional code and a decoder."""
    shown = lowest_seeds(models, IMAGES, EXTENT)
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=3, width=3.7, height=4.1)
    for axes, model in zip(grid, shown, strict=True):
        _panel(axes, model)
    return fig


def _panel(axes: Axes, model: ModelResult) -> None:
    extent = tuple(model.arrays[EXTENT])
    canvas: NDArray[np.floating] = np.moveaxis(model.arrays[IMAGES], 0, -1) / 255
    if CLASSES in model.arrays:
        canvas = coloured(canvas, model.arrays[CLASSES])
    elif canvas.shape[2] == 1:
        canvas = canvas.repeat(3, axis=2)
    axes.imshow(canvas, extent=extent, aspect="auto", interpolation="antialiased")
    if CLASSES in model.arrays:
        _name_regions(axes, model.arrays[CLASSES])
    axes.grid(False)
    axes.set(xlabel="z₁", ylabel="z₂")
    axes.set_box_aspect(1)
    axes.set_title(f"{model.label}\n{_shares(model)}".strip())


def _name_regions(axes: Axes, classes: NDArray[np.integer]) -> None:
    """Write the number of every class that takes more than a small share of the map, within its region."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    height, width = classes.shape
    row, column = np.indices(classes.shape)
    x = left + (column + 0.5) / width * (right - left)
    y = top - (row + 0.5) / height * (top - bottom)
    large = np.isin(classes, [each for each in np.unique(classes) if (classes == each).mean() > SLIVER])
    name_classes(axes, np.stack([x[large], y[large]], axis=1), classes[large])


def coloured(canvas: NDArray[np.floating], classes: NDArray[np.integer]) -> NDArray[np.floating]:
    """Colour images `[H, W, C]` in [0, 1] by their class, given as a map of another size, `[h, w]`."""
    rows = np.arange(canvas.shape[0]) * classes.shape[0] // canvas.shape[0]
    columns = np.arange(canvas.shape[1]) * classes.shape[1] // canvas.shape[1]
    palette = np.array([to_rgb(each) for each in style.class_colours(int(classes.max()) + 1)])
    tint = palette[classes[np.ix_(rows, columns)]]
    # A third of the brightness is background, so that a region is visible between its strokes too.
    return np.asarray(tint * (0.3 + 0.7 * canvas.mean(axis=2, keepdims=True)))


def _shares(model: ModelResult) -> str:
    if AREA not in model.arrays:
        return ""
    area = model.arrays[AREA]
    largest, smallest = int(area.argmax()), int(area.argmin())
    return f"largest: {largest} ({area[largest]:.0%}), smallest: {smallest} ({area[smallest]:.1%})"
