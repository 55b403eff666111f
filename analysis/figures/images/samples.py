"""Samples of models: decoded draws of the prior, and of densities fitted to their codes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.figures.drawing.tiles import show, tile
from latentbench.analysis.stored.samplers import SAMPLERS

SIDE = 5
"""The number of images along each side of a tile."""


@figure(
    "samples",
    title="Samples",
    caption="Images decoded from random codes. The codes come from the prior N(0, I); from the Gaussian "
    "with the mean and covariance of the model's own codes (moment-matched); from a mixture of ten "
    "Gaussians fitted to the codes; from a flow that learned the codes (opt-in); or from train images, "
    "which is the best possible result. The Fréchet distance to the test images, in classifier features, "
    "is lower if samples look more like data.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one tile per sampler of a model."""
    shown = [
        (group[0], sampler)
        for group in by_model(models)
        for sampler in SAMPLERS
        if _array(sampler) in group[0].arrays
    ]
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=2 * len(list(SAMPLERS)), width=1.65, height=2.05)
    for axes, (model, sampler) in zip(grid, shown, strict=True):
        _tile(axes, model, sampler)
    return fig


def _tile(axes: Axes, model: ModelResult, sampler: str) -> None:
    show(axes, tile(model.arrays[_array(sampler)][: SIDE**2], columns=SIDE))
    frechet = model.value(f"frechet_{sampler}")
    quality = "" if frechet is None else f": Fréchet {frechet:.1f}"
    axes.set_title(f"{model.label}\n{sampler}{quality}", fontsize=style.SMALL)


def _array(sampler: str) -> str:
    return f"{SAMPLERS[sampler].analysis}/samples_{sampler}"
