"""Strips from the best to the worst: test images ranked by the error of their reconstruction, by model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.figures.drawing.tiles import GAP, show, tile

ORIGINALS, RECONSTRUCTIONS = "reconstruction/ranked_originals", "reconstruction/ranked_reconstructions"
ERRORS = "reconstruction/ranked_mse"
COLUMN_INCHES, ROW_INCHES = 0.62, 1.62
SMALLEST = 0.001
"""Errors below this are written by their power of ten: their zeros would leave no room between them."""


@figure(
    "error_strips",
    title="Reconstructions from the best to the worst",
    caption="Test images ranked by the error of their reconstruction, from the best on the left to the "
    "worst on the right in equal steps of rank. Originals above, reconstructions below, with the mean "
    "squared error underneath. The images on the right show what the bottleneck cannot represent.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one strip per model, in two columns."""
    shown = lowest_seeds(models, ORIGINALS, RECONSTRUCTIONS, ERRORS)
    if not shown:
        return None
    count = len(shown[0].arrays[ERRORS])
    fig, grid = style.panels(len(shown), columns=2, width=COLUMN_INCHES * count, height=ROW_INCHES)
    for axes, model in zip(grid, shown, strict=True):
        originals, reconstructions = model.arrays[ORIGINALS], model.arrays[RECONSTRUCTIONS]
        width = originals.shape[-1]
        show(axes, tile(np.concatenate([originals, reconstructions]), columns=count))
        middles = [GAP + width / 2 + column * (width + GAP) for column in range(count)]
        axes.set_xticks(middles, [_short(error) for error in model.arrays[ERRORS]])
        axes.tick_params(length=0, labelsize=style.SMALL)
        axes.set_title(model.label)
    return fig


def _short(error: float) -> str:
    """Format two digits in few characters.

    >>> _short(0.0123), _short(0.00456), _short(0.000032), _short(0)
    ('.012', '.0046', '3e-5', '0')
    """
    if 0 < error < SMALLEST:
        return f"{error:.0e}".replace("e-0", "e-")
    return f"{error:.2g}".removeprefix("0") or "0"
