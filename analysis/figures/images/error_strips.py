"""Strips from the best to the worst: test images ranked by the error of their reconstruction, by model."""

from __future__ import annotations

import math
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
    """Format three decimals without the leading zero, such as .012; more if all three would be zero."""
    decimals = 3 if error >= 0.0005 or error == 0 else math.ceil(-math.log10(error))
    return f"{error:.{decimals}f}".removeprefix("0")
