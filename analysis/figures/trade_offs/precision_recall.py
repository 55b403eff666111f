"""Precision of samples (are they plausible?) against their recall (are they varied?), by sampler."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import Point, by_series, draw_line, points
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.stored.samplers import SAMPLERS


@figure(
    "precision_recall",
    title="Precision and recall of samples",
    caption="Precision (share of samples that lie where test images are) against recall (share of test "
    "images that lie where samples are), in classifier features. Up and to the right is better. One panel "
    "per sampler: the last decodes codes of real images, the best possible result of a density of codes. "
    "One line per family and β, each point labelled with its width.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per sampler, with one legend."""
    samplers = [sampler for sampler in SAMPLERS if _points(by_model(models), sampler)]
    if not samplers:
        return None
    fig, grid = style.panels(len(samplers), columns=2, width=4.6, height=4.2)
    for axes, sampler in zip(grid, samplers, strict=True):
        _panel(axes, models, sampler)
    style.legend_right(grid[min(1, len(grid) - 1)])
    # Labels are placed once every panel has its final size.
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
