"""Throughput and latency by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.performance.timed_models import PLAIN_WAYS, by_model_and_operation, looks
from latentbench.analysis.performance.point import OPERATIONS
from latentbench.models.spec import ModelSpec

RATE, LATENCY = "examples_per_second", "latency_seconds"


@figure(
    "batch_size",
    title="Throughput and latency against batch size",
    caption="Examples per second and latency of a batch, in float32 and bf16, one row per operation; all "
    "axes are logarithmic. Where a line is flat, the device is fully used and a larger batch only increases "
    "latency.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one row per operation, throughput to the left and latency to the right."""
    lines = {
        key: line
        for key, line in by_model_and_operation(models).items()
        if len({m.point.batch for m in line if m.point}) > 1
    }
    shown = [operation for operation in OPERATIONS if any(key[1] == operation for key in lines)]
    if not shown:
        return None
    look = looks([spec for spec, _, _ in lines])
    fig, grid = style.panels(2 * len(shown), columns=2, width=4.6, height=3.3)
    for row, operation in enumerate(shown):
        pair = grid[2 * row : 2 * row + 2]
        some = {(spec, way): line for (spec, what, way), line in lines.items() if what == operation}
        for axes, metric, words in zip(pair, (RATE, LATENCY), ("examples/s", "latency (ms)"), strict=True):
            _panel(axes, some, metric, look)
            axes.set(xlabel="batch size", ylabel=words)
            axes.set_title(operation.replace("_", " "))
    _legend(fig, look)
    return fig


def _panel(
    axes: Axes,
    lines: dict[tuple[ModelSpec, str], list[ModelResult]],
    metric: str,
    look: dict[str, tuple[str, str]],
) -> None:
    scale = 1e3 if metric == LATENCY else 1.0
    for (spec, way), line in lines.items():
        colour, marker = look[spec.label]
        axes.plot(
            [m.point.batch for m in line if m.point],
            [scale * (m.value(metric) or 0.0) for m in line],
            color=colour,
            marker=marker,
            markeredgecolor="white",
            linestyle=_linestyle(way),
        )
    batches = sorted({m.point.batch for line in lines.values() for m in line if m.point})
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xticks([], minor=True)
    style.plain_numbers(axes.yaxis)


def _legend(fig: Figure, look: dict[str, tuple[str, str]]) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, markeredgecolor="white", label=label)
        for label, (colour, marker) in look.items()
    ]
    ways = [
        Line2D([], [], color=style.INK, linestyle=_linestyle(way), label="float32" if way == "fp32" else way)
        for way in PLAIN_WAYS
    ]
    fig.legend(handles=[*handles, *ways], loc="outside right upper")


def _linestyle(way: str) -> Literal["-", ":"]:
    return "-" if way == "fp32" else ":"
