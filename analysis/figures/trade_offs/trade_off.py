"""Reconstruction against generation: error of reconstructions against distance of samples."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import by_series, draw_line, points
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.stored.samplers import SAMPLERS

TITLES = {
    "prior": "samples of the prior",
    "moment": "moment-matched samples",
    "gmm10": "samples of a mixture of ten",
    "flow": "samples of a learned flow",
    "posterior": "decoded codes of train images",
}


@figure(
    "trade_off",
    title="Reconstruction against sampling",
    caption="Error of reconstructions against the Fréchet distance of samples, one line per family and β, "
    "each point labelled with its width. Down and to the left is better; both axes are logarithmic. The "
    "floor is the distance between two sets of real images.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per sampler, with one legend."""
    samplers = [sampler for sampler in SAMPLERS if points(by_model(models), "mse", f"frechet_{sampler}")]
    if not samplers:
        return None
    fig, grid = style.panels(len(samplers), columns=2, width=5.2, height=4.6)
    for axes, sampler in zip(grid, samplers, strict=True):
        _panel(axes, models, sampler)
    style.legend_right(grid[-1])
    for axes, sampler in zip(grid, samplers, strict=True):
        shown = points(by_model(models), "mse", f"frechet_{sampler}")
        name_points(
            axes,
            [(error.value, distance.value) for _, error, distance in shown],
            [str(spec.latent_dim) for spec, _, _ in shown],
            [style.colour(spec) for spec, _, _ in shown],
        )
    return fig


def _panel(axes: Axes, models: Sequence[ModelResult], sampler: str) -> None:
    for name, group in by_series(models).items():
        if line := points(group, "mse", f"frechet_{sampler}"):
            draw_line(axes, line, label=name)
    axes.set(xscale="log", yscale="log")
    axes.margins(0.12)
    style.plain_numbers(axes.xaxis)
    style.plain_numbers(axes.yaxis)
    axes.set(xlabel="MSE (pixels in [0, 1])", ylabel="Fréchet distance, judges' features")
    floor = estimate(models, "frechet_floor")
    axes.set_title(TITLES[sampler] + ("" if floor is None else f" (floor {floor.value:.1f})"))
