"""KL per dimension: dimensions that carry the rate, and those that collapsed to the prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

KL_PER_DIM, ACTIVE = "likelihood/kl_per_dim", "likelihood/active"


@figure(
    "kl_per_dim",
    title="KL per dimension",
    caption="Mean KL of every code dimension over the test images, largest first, on one scale for all "
    "models. The bars of a model sum to its rate. Pale bars are inactive dimensions, which the decoder "
    "ignores: posterior collapse.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model that has a rate."""
    shown = lowest_seeds(models, KL_PER_DIM)
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=4, width=2.9, height=2.5)
    highest = max(float(model.arrays[KL_PER_DIM].max()) for model in shown)
    for axes, model in zip(grid, shown, strict=True):
        _panel(axes, model)
        axes.set_ylim(0, 1.05 * highest or 1)
    for axes in grid[::4]:
        axes.set_ylabel("KL (nats)")
    return fig


def _panel(axes: Axes, model: ModelResult) -> None:
    kl = model.arrays[KL_PER_DIM]
    active = model.arrays.get(ACTIVE, np.ones(len(kl), bool)).astype(bool)
    order = np.argsort(-kl, kind="stable")
    strong = style.colour(model.spec)
    pale = style.shade(strong, 0)
    axes.bar(
        np.arange(1, len(kl) + 1),
        kl[order],
        color=[strong if active[dimension] else pale for dimension in order],
        width=0.85,
        linewidth=0,
    )
    axes.set_title(f"{model.label}\n{kl.sum():.1f} nats, {active.sum()} of {len(kl)} active")
    axes.set_xlabel("dimension, by KL")
    axes.grid(False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlim(0.3, len(kl) + 0.7)
