"""The Fréchet distance of every sampler, model by model."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.stored.samplers import FLOW, SAMPLERS

LOOKS = {
    "prior": ("s", "#9aa0a6"),
    "moment": ("D", "#e69f00"),
    "gmm10": ("^", "#56b4e9"),
    "flow": ("o", "#d55e00"),
    "posterior": ("|", style.INK),
}
"""Marker and colour of each sampler."""


@figure(
    "sampler_distances",
    title="Fréchet distance by sampler",
    caption="Fréchet distance of samples to the test images, one row per model, for each density that its "
    "codes are drawn from; logarithmic, further left is better. The bar is the distance of decoded codes of "
    "train images: what lies between it and the flow is what a learned generator adds.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one row per model with a flow, the best one first."""
    groups = [(group, found) for group in by_model(models) if (found := estimate(group, f"frechet_{FLOW}"))]
    if not groups:
        return None
    groups.sort(key=lambda pair: pair[1].value)
    fig = Figure(figsize=(8.2, 1.3 + 0.3 * len(groups)), layout="constrained")
    axes = fig.subplots()
    for sampler in SAMPLERS:
        marker, colour = LOOKS[sampler]
        shown = [
            (row, found)
            for row, (group, _) in enumerate(groups)
            if (found := estimate(group, f"frechet_{sampler}"))
        ]
        if shown:
            axes.errorbar(
                [found.value for _, found in shown],
                [row for row, _ in shown],
                xerr=[min(found.half_width or 0.0, 0.95 * found.value) for _, found in shown],
                fmt=marker,
                color=colour,
                markersize=12 if marker == "|" else 6,
                markeredgewidth=2 if marker == "|" else 1,
                elinewidth=1,
                label=sampler,
            )
    axes.set_yticks(range(len(groups)), [group[0].label for group, _ in groups])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="Fréchet distance, judges' features")
    style.plain_numbers(axes.xaxis)
    axes.grid(axis="x", alpha=0.3)
    style.legend_right(axes)
    return fig
