"""Equivariance errors of grid codes: a bar for each transform and model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate

METRICS = {
    "equivariance_flip": "flip",
    "equivariance_rotation": "rotation by 90°",
    "equivariance_shift": "shift by a position",
    "equivariance_scale": "half the size",
}


@figure(
    "equivariance",
    title="Equivariance of the encoder",
    caption="Error of the code of a moved image against the moved code, ‖E(Tx) − T E(x)‖² / ‖E(x) − mean‖²: "
    "0 where the encoder commutes with the transform, 1 (dashed) where they differ as much as a code differs "
    "from the mean code, 2 where they are unrelated. A missing bar means that the encoder takes no "
    "images of that size. Error bars are 95 % intervals.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one group of bars per transform; None if no code is a grid."""
    shown = [
        (group, found)
        for group in by_model(models)
        for found in [[estimate(group, metric) for metric in METRICS]]
        if any(found)
    ]
    if not shown:
        return None
    fig, (axes,) = style.panels(1, columns=1, width=8.0, height=style.legend_height(len(shown)))
    colours = style.colours_by_width([group[0].spec for group, _ in shown])
    width = 0.8 / len(shown)
    for index, ((group, found), colour) in enumerate(zip(shown, colours, strict=True)):
        present = [(place, each) for place, each in enumerate(found) if each is not None]
        axes.bar(
            [place + (index - (len(shown) - 1) / 2) * width for place, _ in present],
            [each.value for _, each in present],
            width=0.92 * width,
            yerr=[each.error_bar for _, each in present],
            color=colour,
            label=group[0].label,
            error_kw={"ecolor": style.INK, "elinewidth": 1.0},
        )
    axes.axhline(1, color=style.FAINT, linestyle="--", linewidth=1.2)
    axes.set_xticks(np.arange(len(METRICS)), list(METRICS.values()))
    axes.set_xlim(-0.6, len(METRICS) - 0.4)
    axes.set_ylabel("equivariance error")
    axes.grid(False, axis="x")
    style.legend_right(axes)
    return fig
