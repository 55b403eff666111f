"""Accuracy of a trained model whose embedding is cut to fewer dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

WIDTHS, TRUNCATED, PCA = "prompts/curve_widths", "prompts/curve_truncated", "prompts/curve_pca"
CUTS = {TRUNCATED: "the first dimensions", PCA: "the leading principal axes"}
LARGEST = 6
"""The highest number of models; the widest ones are shown."""


@figure(
    "width_curve",
    title="Accuracy of a cut embedding",
    caption="Accuracy of the model's own text encoder if images and texts keep fewer dimensions: either the "
    "first ones, or the directions along which images vary the most. Vectors are normalised again. A nested "
    "(Matryoshka) model is trained to put the most important information first.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per way of cutting, with one line per model."""
    shown = sorted(lowest_seeds(models, WIDTHS, TRUNCATED, PCA), key=lambda model: -model.spec.latent_dim)
    shown = shown[:LARGEST]
    if not shown:
        return None
    fig, grid = style.panels(2, columns=2, width=4.8, height=3.8)
    for axes, (name, title) in zip(grid, CUTS.items(), strict=True):
        for model, colour in zip(shown, style.colours_by_width([m.spec for m in shown]), strict=True):
            _line(axes, model, name, colour)
        axes.set_title(title)
        style.width_axis(axes, sorted({int(width) for model in shown for width in model.arrays[WIDTHS]}))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set(xlabel="dimensions kept", ylabel="accuracy")
    style.legend_right(grid[-1])
    return fig


def _line(axes: Axes, model: ModelResult, name: str, colour: str) -> None:
    axes.plot(
        model.arrays[WIDTHS],
        model.arrays[name],
        color=colour,
        marker=style.marker(model.spec),
        markeredgecolor="white",
        markersize=8,
        label=model.label,
    )
