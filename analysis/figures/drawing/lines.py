"""Models that differ in width alone, as one line of points with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import Pictured
from latentbench.analysis.figures.drawing.seeds import Estimate, by_model, estimate
from latentbench.models.spec import ModelSpec

Point = tuple[ModelSpec, Estimate, Estimate]
"""A model, and its estimates along x and y."""


def by_series(models: Sequence[Pictured]) -> dict[str, list[list[Pictured]]]:
    """Models (each the list of its seeds) under what they have in common beside their width, narrow first.

    Families come in the order in which they are first met, and each with its least β first.
    """
    groups = by_model(models)
    families = list(dict.fromkeys(seeds[0].spec.family for seeds in groups))

    def place(seeds: Sequence[Pictured]) -> tuple[int, float, int]:
        spec = seeds[0].spec
        return families.index(spec.family), spec.number("beta") or 0.0, spec.latent_dim

    series: dict[str, list[list[Pictured]]] = {}
    for seeds in sorted(groups, key=place):
        series.setdefault(seeds[0].spec.series, []).append(seeds)
    return series


def points(group: Sequence[Sequence[Pictured]], x: str, y: str) -> list[Point]:
    """The models that have both metrics."""
    estimates = [(seeds[0].spec, estimate(seeds, x), estimate(seeds, y)) for seeds in group]
    return [(spec, a, b) for spec, a, b in estimates if a is not None and b is not None]


def draw_line(
    axes: Axes, line: Sequence[Point], *, label: str, colour: str | None = None, hollow: bool = False
) -> None:
    """Points with their intervals, joined in order, in the look of their family; hollow ones by dashes."""
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
        xerr=[x.half_width for _, x, _ in line],
        yerr=[y.half_width for _, _, y in line],
        fmt="none",
        ecolor=colour,
        elinewidth=1.4,
        capsize=3,
        zorder=3,
    )
