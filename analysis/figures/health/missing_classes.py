"""Missing mass by class and by attribute: what each sampler never makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.stored.missing_mass import ANALYSIS_OF, ATTRIBUTES, QUARTERS, array_name


@figure(
    "missing_classes",
    title="What is never sampled",
    caption="Missing mass: the share of decoded test images that no sample comes near in the judges' "
    "features, beyond chance. Left by class; right by quarter of three attributes of the "
    "images, from the lowest (q1) to the highest (q4): brightness, contrast, and detail (differences of "
    "neighbouring pixels). 0 is as good as codes of real images, 1 means that none of these images is ever "
    "made. Mean over seeds.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw a row for each model and sampler: one map by class, one by attribute."""
    shown = [
        (group, name)
        for group in by_model(models)
        for name in ANALYSIS_OF
        if all(array_name("attributes", name) in model.arrays for model in group)
    ]
    if not shown:
        return None
    names = [f"{group[0].label}, {sampler}" for group, sampler in shown]
    attributes = np.array([_mean(group, "attributes", sampler).ravel() for group, sampler in shown])
    ticks = [f"{each}\nq{quarter}" for each in ATTRIBUTES for quarter in range(1, QUARTERS + 1)]
    labelled = all(array_name("classes", name) in model.arrays for group, name in shown for model in group)
    height = 1.3 + 0.32 * len(shown)
    fig, panels = style.panels(2 if labelled else 1, columns=2, width=6.4, height=height)
    if labelled:
        classes = np.array([_mean(group, "classes", sampler) for group, sampler in shown])
        _map(panels[0], classes, names, [str(each) for each in range(classes.shape[1])])
        panels[0].set_xlabel("class")
        names = [""] * len(names)
    _map(panels[-1], attributes, names, [tick.replace("\n", " ") for tick in ticks])
    panels[-1].tick_params(axis="x", rotation=60)
    return fig


def _mean(group: Sequence[ModelResult], what: str, sampler: str) -> NDArray[np.float64]:
    return np.asarray(np.mean([model.arrays[array_name(what, sampler)] for model in group], axis=0))


def _map(axes: Axes, shares: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.imshow(shares, cmap="Purples", vmin=0, vmax=1, aspect="auto")
    if shares.shape[1] <= 20:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.6 else style.INK
            text = "–" if np.isnan(share) else f"{share:.2f}".replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=style.SMALL)
    axes.set_xticks(range(len(columns)), columns) if len(columns) <= 20 else axes.set_xticks([])
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
