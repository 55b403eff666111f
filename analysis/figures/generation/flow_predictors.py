"""The correlation of each cheap metric with the Fréchet distance of a learned generator."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model, estimate
from latentbench.analysis.predictors import Values, predictors

LISTED = 30
"""The number of metrics that are shown, best first."""


@figure(
    "flow_predictors",
    title="Which metric predicts a learned generator?",
    caption="Spearman's ρ of each metric with the Fréchet distance of flow samples over the models, without "
    "its sign; the 95 % interval resamples models. Filled: not distinguishable from the best predictor, by "
    "the interval of the difference over the same models. Empty: worse.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one row per metric, the best one first."""
    found = predictors(values_of(models))[:LISTED]
    if not found:
        return None
    fig = Figure(figsize=(8.2, 1.4 + 0.27 * len(found)), layout="constrained")
    axes = fig.subplots()
    for row, each in enumerate(found):
        one = each.correlation
        axes.plot(_ends(one.value, one.low, one.high), [row, row], color=style.FAINT, linewidth=1.4)
        filled = style.INK if each.verdict != "worse" else "white"
        axes.plot(abs(one.value), row, "o", markerfacecolor=filled, markeredgecolor=style.INK)
    names = [f"{each.metric.name} ({'+' if each.correlation.value > 0 else '−'})" for each in found]
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.axvline(0, color=style.FAINT, linewidth=0.8)
    axes.set(xlabel=f"|ρ| with frechet_flow over {found[0].correlation.n} models", xlim=(None, 1.02))
    axes.grid(axis="x", alpha=0.3)
    return fig


def values_of(models: Sequence[ModelResult]) -> Values:
    """Return every metric of each model, averaged over its seeds."""
    return {
        group[0].label: {
            name: found.value
            for name in dict.fromkeys(name for seed in group for name in seed.metrics)
            if (found := estimate(group, name)) is not None
        }
        for group in by_model(models)
    }


def _ends(value: float, low: float, high: float) -> tuple[float, float]:
    """Turn an interval of ρ into one of |ρ|, with the sign of the value: it may begin below 0."""
    return (low, high) if value >= 0 else (-high, -low)
