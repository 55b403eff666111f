"""The space of an image–text model over training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.figures.training.kl_curves import mean_over_seeds
from latentbench.analysis.rate.kl_curve import smoothed

TERMS = {
    "loss": "loss (nats)",
    "temperature": "temperature",
    "alignment": "alignment (0 is best)",
    "uniformity": "uniformity (lower is wider)",
    "modality_gap": "modality gap",
}


@figure(
    "contrastive_history",
    title="Image–text training",
    caption="Smoothed curves over training steps, mean over seeds: the loss (different for each family), "
    "the temperature, the distance between images and their texts (alignment), how evenly images cover the "
    "sphere (uniformity), and the distance between the mean image and the mean text (modality gap).",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per term, with one line per model."""
    having = [m for m in models if all(len(m.arrays.get(f"history/{term}", ())) > 1 for term in TERMS)]
    if not having:
        return None
    fig, grid = style.panels(len(TERMS), columns=3, width=3.6, height=2.9)
    groups = by_model(having)
    for group, colour in zip(groups, style.colours_by_width([g[0].spec for g in groups]), strict=True):
        for axes, (term, title) in zip(grid, TERMS.items(), strict=True):
            curve = smoothed(mean_over_seeds([model.arrays[f"history/{term}"] for model in group]))
            axes.plot(np.arange(1, len(curve) + 1), curve, color=colour, label=group[0].label)
            axes.set(title=title, xlabel="training step")
    style.legend_right(grid[-1], in_free_cell=True)
    return fig
