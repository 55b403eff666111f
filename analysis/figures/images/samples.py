"""What models make up: decoded draws of the prior, and of densities fitted to their codes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.figures.drawing.tiles import show, tile
from latentbench.analysis.generation.code_samplers import SAMPLERS

SIDE = 5
"""Images along each side of a tile."""


@figure(
    "samples",
    title="Samples",
    caption="Images decoded from random codes: from the prior N(0, I), and moment-matched, that is from "
    "the Gaussian with the mean and covariance of the model's own codes; from a mixture of ten Gaussians "
    "fitted to the codes; and from codes of train images, which is the best one can hope for. The Fréchet "
    "distance to the test images, in the judge's features, is lower where samples look more like data.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """A tile for each sampler of a model."""
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
    return f"sampling/samples_{sampler}"
