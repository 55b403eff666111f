"""How far every model is from what the device can do (Williams et al. 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.performance.timed_models import by_model_and_operation, looks
from latentbench.analysis.performance.point import OPERATIONS
from latentbench.models.spec import ModelSpec

NEEDED = ("flops_per_second", "bytes_per_second", "peak_flops_per_second", "bandwidth_bytes_per_second")

Spot = tuple[ModelSpec, float, float]
"""A model, operations a byte, operations a second."""


@figure(
    "roofline",
    title="Roofline",
    caption="Operations per second against operations per byte moved, every model at its largest batch in "
    "float32. The roof is what the device itself reaches: its bandwidth on the slope, a large matrix product "
    "or convolution at the top; dashed where it is bf16's. The gap up to the roof is what is lost; above the "
    "slope is what stays in a cache. Bytes are counted as if nothing did and nothing were fused.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """A panel for each operation."""
    spots: dict[str, list[Spot]] = {}
    for (spec, operation, way), line in by_model_and_operation(models).items():
        counted = [model for model in line if all(model.value(name) for name in NEEDED)]
        if way == "fp32" and counted:
            spots.setdefault(operation, []).append((spec, *_spot(counted[-1])))
    shown = [operation for operation in OPERATIONS if operation in spots]
    if not shown:
        return None
    roofs = _roofs(models)
    look = looks([spec for operation in shown for spec, _, _ in spots[operation]])
    fig, grid = style.panels(len(shown), columns=2, width=6.2, height=4.6)
    for axes, operation in zip(grid, shown, strict=True):
        _panel(axes, spots[operation], roofs, look)
        axes.set_title(operation.replace("_", " "))
    for axes, operation in zip(grid, shown, strict=True):
        some = spots[operation]
        name_points(
            axes,
            [(x, y / 1e9) for _, x, y in some],
            [spec.label for spec, _, _ in some],
            [look[spec.label][0] for spec, _, _ in some],
        )
    return fig


def _spot(model: ModelResult) -> tuple[float, float]:
    flops, moved = model.value("flops_per_second") or 0.0, model.value("bytes_per_second") or 1.0
    return flops / moved, flops


def _roofs(models: Sequence[ModelResult]) -> dict[str, tuple[float, float]]:
    """Peak and bandwidth by precision, as the rows have them; the highest, where a run was interrupted."""
    roofs: dict[str, tuple[float, float]] = {}
    for model in models:
        peak, bandwidth = model.value(NEEDED[2]), model.value(NEEDED[3])
        if model.point is not None and peak and bandwidth:
            way = model.point.precision
            before = roofs.get(way, (0.0, 0.0))
            roofs[way] = max(before[0], peak), max(before[1], bandwidth)
    return roofs


def _panel(
    axes: Axes,
    spots: Sequence[Spot],
    roofs: dict[str, tuple[float, float]],
    look: dict[str, tuple[str, str]],
) -> None:
    intensities = np.array([x for _, x, _ in spots])
    ridge = max(peak / bandwidth for peak, bandwidth in roofs.values())
    reach = np.geomspace(min(intensities.min(), 1) / 2, 4 * max(intensities.max(), ridge), 200)
    for precision, (peak, bandwidth) in roofs.items():
        axes.plot(
            reach,
            np.minimum(peak, reach * bandwidth) / 1e9,
            color=style.INK,
            linewidth=1.4,
            linestyle="-" if precision == "fp32" else "--",
        )
        axes.annotate(
            f"{precision} {peak / 1e9:,.0f} GFLOP/s",
            (reach[-1], peak / 1e9),
            textcoords="offset points",
            xytext=(-2, 4),
            ha="right",
            fontsize=style.SMALL,
        )
    for spec, x, y in spots:
        colour, marker = look[spec.label]
        axes.plot(x, y / 1e9, color=colour, marker=marker, markeredgecolor="white", markersize=9)
    axes.set(xscale="log", yscale="log")
    axes.margins(y=0.12)
    style.plain_numbers(axes.xaxis)
    style.plain_numbers(axes.yaxis)
    axes.set(xlabel="FLOP per byte moved", ylabel="GFLOP/s")
