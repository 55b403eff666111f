"""UMAP figures of latent spaces, each with a stamp that states how reliable it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.scatter import scatter_classes
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

EMBEDDING, LABELS = "embedding/embedding", "embedding/labels"
DRAWS = {"embedding/prior": "prior", "embedding/moment": "moment Gaussian"}


@figure(
    "umap",
    title="Latent spaces by UMAP",
    caption="Codes of test images, coloured by class, and black draws from the density used for sampling: "
    "the prior N(0, I) if the model has one, otherwise the Gaussian with the moments of the codes. UMAP "
    "places both together. Black regions without colour are sampled but contain no image. Distances between "
    "islands and their sizes have no meaning. The stamp states how reliable neighbours are: trustworthiness "
    "is 1 if all neighbours in the figure are neighbours as codes; k-NN overlap is the share of nearest "
    "codes that are also nearest in the figure.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per model."""
    shown = lowest_seeds(models, EMBEDDING)
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=4, width=2.7, height=3.15)
    for axes, model in zip(grid, shown, strict=True):
        _panel(axes, model)
    return fig


def _panel(axes: Axes, model: ModelResult) -> None:
    points = model.arrays[EMBEDDING]
    labels = model.arrays.get(LABELS, np.zeros(len(points), np.uint16))
    drawn = next((name for name in DRAWS if name in model.arrays), None)
    if drawn is not None:
        x, y = model.arrays[drawn].T
        axes.scatter(x, y, c=style.INK, s=3, alpha=0.55, linewidths=0, zorder=0)
    scatter_classes(axes, points, labels)
    axes.set(xticks=[], yticks=[])
    axes.set_title(model.label + ("" if drawn is None else f"\nblack: {DRAWS[drawn]}"))
    axes.set_xlabel(_stamp(model), fontsize=style.SMALL, color=style.FAINT)


def _stamp(model: ModelResult) -> str:
    stamps = {"trust": model.value("umap_trustworthiness"), "k-NN overlap": model.value("umap_knn_overlap")}
    return ", ".join(f"{name} {value:.2f}" for name, value in stamps.items() if value is not None)
