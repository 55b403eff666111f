"""Channel statistics: the mean and the spread of every channel of a code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

MEANS, DEVIATIONS = "latent_health/channel_means", "latent_health/channel_deviations"


@figure(
    "channel_statistics",
    title="Channels of the codes",
    caption="Mean (point) and one standard deviation (bar) of every channel over test images and positions, "
    "largest spread first, in units of the standard deviation over all values. The grey band is the mean "
    "and one deviation of all values, which scaling_factor and shift_factor normalise. Channels far from the "
    "band are not normalised by one factor for all; a point without a bar is a constant channel.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model."""
    shown = lowest_seeds(models, MEANS, DEVIATIONS)
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=4, width=2.9, height=2.5)
    for axes, model in zip(grid, shown, strict=True):
        _panel(axes, model)
    for axes in grid[::4]:
        axes.set_ylabel("value (deviations of all)")
    return fig


def _panel(axes: Axes, model: ModelResult) -> None:
    means, deviations = model.arrays[MEANS], model.arrays[DEVIATIONS]
    scale = model.value("scaling_factor") or 1.0
    means, deviations = (means - (model.value("shift_factor") or 0.0)) * scale, deviations * scale
    order = np.argsort(-deviations, kind="stable")
    axes.axhspan(-1, 1, color=style.FAINT, alpha=0.15, linewidth=0)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    axes.errorbar(
        np.arange(1, len(means) + 1),
        means[order],
        deviations[order],
        fmt="o",
        markersize=min(5.0, 160 / len(means)),
        color=style.colour(model.spec),
        elinewidth=min(1.6, 80 / len(means)),
    )
    scaling = model.value("scaling_factor")
    axes.set_title(model.label if scaling is None else f"{model.label}\nscaling {scaling:.4g}")
    axes.set_xlabel("channel, by spread")
    axes.grid(False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
