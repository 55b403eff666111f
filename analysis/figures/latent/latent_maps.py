"""Maps of two-dimensional codes: the position of each class, and the dead zones without codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.scatter import scatter_classes
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

CODES, LABELS = "coverage/codes", "coverage/labels"
EXTENT, DEAD = "coverage/plane_extent", "coverage/plane_dead"
RADIUS_OF_95_PERCENT = 5.991**0.5
"""A two-dimensional Gaussian has 95 % of its mass within this number of standard deviations."""


@figure(
    "latent_maps",
    title="Two-dimensional latent spaces and their dead zones",
    caption="Codes of train images by class. Grey parts of the plane have no codes, so the decoder was "
    "never trained there. The ellipse contains 95 % of the Gaussian with the codes' mean and covariance: "
    "samples from this Gaussian also come from the grey parts inside it. The dead-zone mass is their share "
    "of the Gaussian, beyond the share expected for the codes themselves.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model with a two-dimensional code."""
    shown = lowest_seeds(models, CODES, EXTENT, DEAD)
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=3, width=3.7, height=3.9)
    for axes, model in zip(grid, shown, strict=True):
        _panel(axes, model)
    return fig


def _panel(axes: Axes, model: ModelResult) -> None:
    codes, extent = model.arrays[CODES], tuple(model.arrays[EXTENT])
    labels = model.arrays.get(LABELS, np.zeros(len(codes), np.int64))
    dead = np.where(model.arrays[DEAD], 0.82, 1.0)
    axes.imshow(dead, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto", zorder=0)
    axes.plot(*ellipse(codes).T, color=style.INK, linewidth=1.4, linestyle="--")
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="z₁", ylabel="z₂")
    axes.autoscale(False)
    scatter_classes(axes, codes, labels)
    axes.set_box_aspect(1)
    mass = model.value("dead_zone_moment")
    axes.set_title(model.label if mass is None else f"{model.label}: dead-zone mass {mass:.3f}")


def ellipse(codes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the 95 % ellipse of the Gaussian with the moments of codes `[N, 2]`, as points `[200, 2]`."""
    values, vectors = np.linalg.eigh(np.cov(codes, rowvar=False))
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radii = RADIUS_OF_95_PERCENT * np.sqrt(np.maximum(values, 0))
    return np.asarray(codes.mean(0) + (circle * radii) @ vectors.T)
