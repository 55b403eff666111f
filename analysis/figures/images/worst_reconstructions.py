"""The worst reconstructions: originals, reconstructions, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.figures.drawing.tiles import show, tile

ORIGINALS, RECONSTRUCTIONS = "coding/worst_originals", "coding/worst_reconstructions"
AMPLIFIED = 4
INCHES = 0.95


@figure(
    "worst_reconstructions",
    title="The worst reconstructions",
    caption="The test images with the largest errors, the worst on the left: originals above, "
    f"reconstructions below them, and at the bottom their differences, {AMPLIFIED} times as large, where "
    "grey is no difference. Of each family the model with the largest mean error is shown.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw three rows for one model of each family, in two columns."""
    shown = _one_per_family(lowest_seeds(models, ORIGINALS, RECONSTRUCTIONS))
    if not shown:
        return None
    count = len(shown[0].arrays[ORIGINALS])
    fig, grid = style.panels(len(shown), columns=2, width=INCHES * count, height=3 * INCHES + 0.35)
    for axes, model in zip(grid, shown, strict=True):
        originals, reconstructions = model.arrays[ORIGINALS], model.arrays[RECONSTRUCTIONS]
        rows = np.concatenate([originals, reconstructions, difference(originals, reconstructions)])
        show(axes, tile(rows, columns=count))
        axes.set_title(model.label)
    return fig


def difference(originals: NDArray[np.uint8], reconstructions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return reconstruction − original, amplified, around the grey 128; uint8 `[N, C, H, W]`."""
    amplified = 128 + AMPLIFIED * (reconstructions.astype(np.int32) - originals)
    return amplified.clip(0, 255).astype(np.uint8)


def _one_per_family(models: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the model with the largest error of each family; a family without any error is left out."""
    worst: dict[str, ModelResult] = {}
    for model in models:
        error = model.value("mse") or 0.0
        if error > (worst[model.spec.family].value("mse") or 0.0 if model.spec.family in worst else 0.0):
            worst[model.spec.family] = model
    return list(worst.values())
