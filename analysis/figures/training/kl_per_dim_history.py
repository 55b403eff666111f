"""KL per dimension over training: when each dimension of the code becomes active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.rate.kl_curve import last_steps

KL, KL_PER_DIM = "history/kl", "history/kl_per_dim"
SHOWN = 6
COLUMNS = 2
DARKEST = 0.999
"""The share of the values that the colours distinguish; a spike of one batch takes the last colour."""


@figure(
    "kl_per_dim_history",
    title="KL per dimension over training",
    caption="KL to the prior of every code dimension over training, one row per dimension, with the largest "
    "final KL at the top. All models share one colour scale, which spreads small values, and steps are on a "
    "logarithmic axis. A row turns dark when the decoder learns to use its dimension; a row that turns pale "
    "again, or stays pale, has collapsed to the prior. At most six models are shown, the widest ones.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model whose history has a KL per dimension."""
    shown = widest(lowest_seeds(models, KL, KL_PER_DIM))
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=COLUMNS, width=4.6, height=3.0)
    everything = np.concatenate([_finite(model).ravel() for model in shown])
    scale = PowerNorm(0.5, 0, float(np.quantile(everything, DARKEST)) or 1)
    for axes, model in zip(grid, shown, strict=True):
        mesh = _panel(axes, model, scale)
    bar = fig.colorbar(mesh, ax=grid, label="KL (nats)", location="bottom", extend="max", aspect=40)
    bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=8))
    return fig


def widest(models: Sequence[ModelResult]) -> list[ModelResult]:
    """Return at most six models, those with the most dimensions, in the order given."""
    chosen = sorted(models, key=lambda model: -model.spec.latent_dim)[:SHOWN]
    return [model for model in models if model in chosen]


def _finite(model: ModelResult) -> NDArray[np.float64]:
    """Return KL by row of the history and dimension, `[rows, D]`; float16 may have overflowed."""
    rows = model.arrays[KL_PER_DIM].astype(np.float64)
    return np.nan_to_num(rows, nan=0.0, posinf=float(np.finfo(np.float16).max))


def _panel(axes: Axes, model: ModelResult, scale: Normalize) -> QuadMesh:
    rows, steps = _finite(model), len(model.arrays[KL])
    order = np.argsort(-last_steps(rows).mean(0), kind="stable")
    # Not `steps_per_row` of these steps: a training that diverged was planned with more.
    per_row = -(-steps // len(rows))
    edges = np.append(1 + per_row * np.arange(len(rows)), steps + 1)
    dimensions = np.arange(rows.shape[1] + 1) + 0.5
    mesh = axes.pcolormesh(edges, dimensions, rows[:, order].T, cmap=_colours(), norm=scale, rasterized=True)
    axes.set_xscale("log")
    style.plain_numbers(axes.xaxis)
    axes.set(xlabel="training step", ylabel="dimension, by final KL", xlim=(1, steps + 1))
    axes.set_ylim(rows.shape[1] + 0.5, 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.grid(False, which="both")
    axes.set_title(model.label)
    return mesh


def _colours() -> Colormap:
    base = style.family_colour("vae")
    return LinearSegmentedColormap.from_list("depth", ["white", base, "#00121f"])
