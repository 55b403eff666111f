"""Confusion by word: every value of each factor against the predicted value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.data.captioned.schemes import SCHEMES, CaptionScheme

LARGEST = 5
"""The highest number of models: the widest of each family first, then the families in order."""


@figure(
    "factor_confusion",
    title="Confusion by factor",
    caption="Images of unseen captions: each value of a factor (row) by the value that the model predicts "
    "(column), as a percentage of the row, for the widest model of each family. If only the class is "
    "confused, the other words transfer to the new combination.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one row of panels per model, one panel per factor."""
    scheme = next((each for each in SCHEMES if lowest_seeds(models, *_arrays(each))), None)
    if scheme is None:
        return None
    shown = _widest(lowest_seeds(models, *_arrays(scheme)))
    fig = Figure(figsize=(9.6, 3.5 * len(shown)), layout="constrained")
    # A class has ten values, the other factors three each.
    grid = fig.subplots(len(shown), 3, squeeze=False, width_ratios=(1.5, 1, 1))
    for row, model in zip(grid, shown, strict=True):
        for axes, factor, name in zip(row, scheme.factors, _arrays(scheme), strict=True):
            _panel(axes, model.arrays[name], factor.words)
            axes.set_title(f"{model.label}: {factor.name}" if factor is scheme.factors[0] else factor.name)
    return fig


def _arrays(scheme: CaptionScheme) -> list[str]:
    return [f"zero_shot/confusion_{factor.name}" for factor in scheme.factors]


def _widest(models: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the widest model of each family, in order of the families' appearance."""
    best: dict[str, ModelResult] = {}
    for model in models:
        known = best.get(model.spec.family)
        if known is None or model.spec.latent_dim > known.spec.latent_dim:
            best[model.spec.family] = model
    return list(best.values())[:LARGEST]


def _panel(axes: Axes, counts: NDArray[np.generic], words: tuple[str, ...]) -> None:
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    short = [word.split()[-1] for word in words]
    turn = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if len(words) > 3 else {}
    axes.set_xticks(range(len(words)), short, **turn)  # type: ignore[arg-type]
    axes.set_yticks(range(len(words)), short)
    axes.grid(False)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5:
            colour = "white" if value > 55 else style.INK
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=style.SMALL
            )
