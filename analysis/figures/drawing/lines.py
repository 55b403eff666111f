"""Draw models that differ only in width as one line of points with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.statistics.estimates import Estimate
from latentbench.models.spec import ModelSpec

Point = tuple[ModelSpec, Estimate, Estimate]
"""A model, and its estimates along x and y."""


def by_series(models: Sequence[ModelResult]) -> dict[str, list[list[ModelResult]]]:
    """Group models (each the list of its seeds) by everything except their width, narrow ones first.

    Families are in order of first appearance, and each is sorted by its settings.
    """
    groups = by_model(models)
    families = list(dict.fromkeys(seeds[0].spec.family for seeds in groups))
    series: dict[str, list[list[ModelResult]]] = {}
    for seeds in sorted(groups, key=lambda seeds: (families.index(seeds[0].spec.family), _rank(seeds[0]))):
        series.setdefault(seeds[0].spec.series, []).append(seeds)
    return series


def _rank(model: ModelResult) -> tuple[tuple[str, ...], tuple[float, ...], int]:
    words, width, numbers = model.spec.rank
    return words, numbers, width


def points(group: Sequence[Sequence[ModelResult]], x: str, y: str) -> list[Point]:
    """Return the models that have both metrics."""
    estimates = [(seeds[0].spec, estimate(seeds, x), estimate(seeds, y)) for seeds in group]
    return [(spec, a, b) for spec, a, b in estimates if a is not None and b is not None]


def draw_line(
    axes: Axes, line: Sequence[Point], *, label: str, colour: str | None = None, hollow: bool = False
) -> None:
    """Draw points with their intervals, joined in order, in the family's style; hollow points by dashes."""
    colour = colour or style.colour(line[0][0])
    x, y = [x.value for _, x, _ in line], [y.value for _, _, y in line]
    axes.plot(
        x,
        y,
        color=colour,
        marker=style.marker(line[0][0]),
        markerfacecolor="white" if hollow else colour,
        markeredgecolor=colour if hollow else "white",
        linestyle="--" if hollow else "-",
        markersize=8,
        label=label,
    )
    axes.errorbar(
        x,
        y,
        xerr=[x.error_bar for _, x, _ in line],
        yerr=[y.error_bar for _, _, y in line],
        fmt="none",
        ecolor=colour,
        elinewidth=1.4,
        capsize=3,
        zorder=3,
    )
