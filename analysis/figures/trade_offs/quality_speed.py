"""Quality against speed, with the front of models that no other model beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.statistics.estimates import Estimate
from latentbench.analysis.statistics.pareto import front
from latentbench.models.spec import ModelSpec

QUALITY = "psnr"
SPEEDS = {
    "encode_latency_seconds": "encoding one image",
    "decode_latency_seconds": "decoding one image",
}

Point = tuple[ModelSpec, str, Estimate, Estimate]
"""A model, its name, its microseconds and its quality."""


@figure(
    "quality_speed",
    title="Quality against speed",
    caption="PSNR of reconstructions against the latency of a single image, with 95 % intervals. Up and to "
    "the left is better. The stepped line joins the models that no other model beats in both; choose one of "
    "these (`latentbench recommend`).",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel for each direction that was timed."""
    panels = {words: _points(models, metric) for metric, words in SPEEDS.items()}
    panels = {words: points for words, points in panels.items() if points}
    if not panels:
        return None
    fig, grid = style.panels(len(panels), columns=2, width=5.6, height=4.6)
    fronts = [_panel(axes, words, points) for axes, (words, points) in zip(grid, panels.items(), strict=True)]
    _legend(grid[-1], [spec for points in panels.values() for spec, *_ in points])
    # Labels are placed once every panel has its final size.
    for axes, points, best in zip(grid, panels.values(), fronts, strict=True):
        name_points(
            axes,
            [(wait.value, quality.value) for _, _, wait, quality in points],
            [name if position in best else "" for position, (_, name, _, _) in enumerate(points)],
            [style.colour(spec) for spec, _, _, _ in points],
        )
    return fig


def _legend(axes: Axes, specs: Sequence[ModelSpec]) -> None:
    """Draw a legend with each family once."""
    handles = {
        spec.family: Line2D(
            [],
            [],
            color=style.family_colour(spec.family),
            marker=style.marker(spec),
            markeredgecolor="white",
            markersize=8,
            linestyle="none",
            label=spec.family,
        )
        for spec in specs
    }
    axes.legend(handles=list(handles.values()), loc="center left", bbox_to_anchor=(1.0, 0.5))


def _points(models: Sequence[ModelResult], metric: str) -> list[Point]:
    found = []
    for seeds in by_model(models):
        wait, quality = estimate(seeds, metric), estimate(seeds, QUALITY)
        if wait is not None and quality is not None:
            found.append((seeds[0].spec, seeds[0].label, wait.scaled(1e6), quality))
    return found


def _panel(axes: Axes, words: str, points: Sequence[Point]) -> list[int]:
    """Draw the points and the front; return the models on it."""
    for spec, _, wait, quality in points:
        axes.errorbar(
            wait.value,
            quality.value,
            xerr=wait.error_bar,
            yerr=quality.error_bar,
            color=style.colour(spec),
            marker=style.marker(spec),
            markeredgecolor="white",
            markersize=8,
            elinewidth=1.2,
        )
    best = front([wait.value for _, _, wait, _ in points], [quality.value for *_, quality in points])
    corners = [(points[position][2].value, points[position][3].value) for position in best]
    # Every corner of the steps is drawn, so that labels keep clear of the line as seen.
    steps = [corners[0], *(step for a, b in pairwise(corners) for step in ((b[0], a[1]), b))]
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.plot(*zip(*steps, strict=True), color=style.FAINT, linewidth=1.2, linestyle="--", zorder=0)
    style.plain_numbers(axes.xaxis)
    axes.set(xlabel=f"{words} (µs, 10th percentile)", ylabel="PSNR (dB)")
    axes.set_title(f"{words}: {len(best)} of {len(points)} on the front")
    return best
