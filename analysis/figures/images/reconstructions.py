"""Reconstructions: original images above, every model's reconstructions below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.figures.drawing.tiles import GAP, show, tile

ORIGINALS, RECONSTRUCTIONS = "reconstruction/originals", "reconstruction/reconstructions"
ROW_INCHES = 0.62


@figure(
    "reconstructions",
    title="Reconstructions",
    caption="Test images in the top row and their reconstructions by each model below. Details that the "
    "bottleneck cannot represent are blurred or replaced. MSE is the mean squared error over the whole test "
    "set, pixels in [0, 1].",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one row per model, labelled with its error."""
    shown = lowest_seeds(models, ORIGINALS, RECONSTRUCTIONS)
    if not shown:
        return None
    rows = [shown[0].arrays[ORIGINALS], *(model.arrays[RECONSTRUCTIONS] for model in shown)]
    count, _, height, width = rows[0].shape
    fig = Figure(
        figsize=(2.1 + ROW_INCHES * count * width / height, 0.2 + ROW_INCHES * len(rows)),
        layout="constrained",
    )
    axes = fig.subplots()
    show(axes, tile(np.concatenate(rows), columns=count))
    centres = [GAP + height / 2 + row * (height + GAP) for row in range(len(rows))]
    axes.set_yticks(centres, ["originals", *map(_label, shown)])
    axes.tick_params(length=0, labelsize=style.NORMAL)
    return fig


def _label(model: ModelResult) -> str:
    mse = model.value("mse")
    return model.label if mse is None else f"{model.label}\nMSE {mse:.3g}"
