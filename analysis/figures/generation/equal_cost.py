"""The Fréchet distance of a flow over the operations of its training, for pixels and for each compressor."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.statistics.estimates import Estimate
from latentbench.analysis.stored.equal_flops import BUDGETS, metric_at

Curve = list[tuple[float, Estimate]]


@figure(
    "equal_cost",
    title="Generation at equal cost",
    caption="Fréchet distance of samples of the same flow over the operations of its training, one curve per "
    "code, with 95 % intervals; both axes are logarithmic. One image may cost 1/20,000 of the training, with "
    "its decoding. `identity` generates pixels. The training of the compressor is not counted. Lower is "
    "better at the same cost. Label-free features are shown where there is no judge.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one curve per model, in the judges' features, or in those of an untrained network."""
    for space in (None, "untrained"):
        curves = [(group[0], points) for group in by_model(models) if (points := _curve(group, space))]
        if curves:
            return _drawn(curves, "judges' features" if space is None else "features of an untrained network")
    return None


def _curve(group: Sequence[ModelResult], space: str | None) -> Curve:
    found = [(float(budget), estimate(group, metric_at(budget, space))) for budget in BUDGETS]
    return [(budget, distance) for budget, distance in found if distance is not None]


def _drawn(curves: Sequence[tuple[ModelResult, Curve]], features: str) -> Figure:
    fig = Figure(figsize=(7.4, 4.6), layout="constrained")
    axes = fig.subplots()
    colours = style.class_colours(len(curves))
    for (model, points), colour in zip(curves, colours, strict=True):
        axes.errorbar(
            [budget for budget, _ in points],
            [found.value for _, found in points],
            yerr=[min(found.half_width or 0.0, 0.95 * found.value) for _, found in points],
            marker=style.marker(model.spec),
            color=colour,
            label=model.label,
            capsize=2,
        )
    axes.set(xscale="log", yscale="log", xlabel="operations of training (GFLOP)")
    axes.set_ylabel(f"Fréchet distance, {features}")
    style.plain_numbers(axes.xaxis)
    style.plain_numbers(axes.yaxis)
    style.legend_right(axes)
    return fig
