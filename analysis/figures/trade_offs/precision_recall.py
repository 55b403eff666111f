"""Whether samples are plausible and whether they are varied: precision against recall, by sampler."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import Point, by_series, draw_line, points
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.generation.code_samplers import SAMPLERS


@figure(
    "precision_recall",
    title="Precision and recall of samples",
    caption="Share of samples that lie where test images are, against the share of test images that lie "
    "where samples are, in the judge's features. Up and to the right is better. A panel for each sampler: "
    "the last decodes codes of real images, which is the best that a density of codes can do. A line for "
    "each family and β, each point named by its width.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """A panel for each sampler, with one legend."""
    samplers = [sampler for sampler in SAMPLERS if _points(by_model(models), sampler)]
    if not samplers:
        return None
    fig, grid = style.panels(len(samplers), columns=2, width=4.6, height=4.2)
    for axes, sampler in zip(grid, samplers, strict=True):
        _panel(axes, models, sampler)
    style.legend_beside(grid[min(1, len(grid) - 1)])
    # Once every panel has its final size: naming looks for room.
    for axes, sampler in zip(grid, samplers, strict=True):
        shown = _points(by_model(models), sampler)
        name_points(
            axes,
            [(recall.value, precision.value) for _, recall, precision in shown],
            [str(spec.latent_dim) for spec, _, _ in shown],
            [style.colour(spec) for spec, _, _ in shown],
        )
    return fig


def _points(group: Sequence[Sequence[ModelResult]], sampler: str) -> list[Point]:
    return points(group, f"recall_{sampler}", f"precision_{sampler}")


def _panel(axes: Axes, models: Sequence[ModelResult], sampler: str) -> None:
    for name, group in by_series(models).items():
        if line := _points(group, sampler):
            draw_line(axes, line, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    axes.set_box_aspect(1)
    axes.set_title(sampler)
