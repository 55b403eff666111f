"""The distance of every model from the measured limits of the device (Williams et al. 2009)."""

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
"""A model, its operations per byte, and its operations per second."""


@figure(
    "roofline",
    title="Roofline",
    caption="Operations per second against operations per byte moved, for every model at its largest batch "
    "in float32. The line is the limit measured on the device: its bandwidth on the slope, a large matrix "
    "product or convolution on the flat part; dashed for bf16. The gap below the line is unused "
    "performance; points above the slope keep data in a cache. Bytes are counted without caches and without "
    "fused operators.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per operation."""
    spots: dict[str, list[Spot]] = {}
    for (spec, operation, way), line in by_model_and_operation(models).items():
        counted = [model for model in line if all(model.value(name) for name in NEEDED)]
        if way == "fp32" and counted:
            spots.setdefault(operation, []).append((spec, *_spot(counted[-1])))
    shown = [operation for operation in OPERATIONS if operation in spots]
    if not shown:
        return None
    peaks = _peaks(models)
    look = looks([spec for operation in shown for spec, _, _ in spots[operation]])
    fig, grid = style.panels(len(shown), columns=2, width=6.2, height=4.6)
    for axes, operation in zip(grid, shown, strict=True):
        _panel(axes, spots[operation], peaks, look)
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


def _peaks(models: Sequence[ModelResult]) -> dict[str, tuple[float, float]]:
    """Return peak and bandwidth by precision from the rows; the highest, if a run was interrupted."""
    peaks: dict[str, tuple[float, float]] = {}
    for model in models:
        peak, bandwidth = model.value(NEEDED[2]), model.value(NEEDED[3])
        if model.point is not None and peak and bandwidth:
            way = model.point.precision
            before = peaks.get(way, (0.0, 0.0))
            peaks[way] = max(before[0], peak), max(before[1], bandwidth)
    return peaks


def _panel(
    axes: Axes,
    spots: Sequence[Spot],
    peaks: dict[str, tuple[float, float]],
    look: dict[str, tuple[str, str]],
) -> None:
    intensities = np.array([x for _, x, _ in spots])
    ridge = max(peak / bandwidth for peak, bandwidth in peaks.values())
    reach = np.geomspace(min(intensities.min(), 1) / 2, 4 * max(intensities.max(), ridge), 200)
    for precision, (peak, bandwidth) in peaks.items():
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
