"""Accuracy on captions used in training against accuracy on captions that were not."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from scipy.special import expit, logit

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import by_series, draw_line, points
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure

SEEN, UNSEEN = "zero_shot_seen", "zero_shot_top1"
TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
LOWEST, HIGHEST, ROOM = TICKS[0], TICKS[-1], 0.5
"""The range of accuracies that can be shown, and the margin around the points in log-odds."""


@figure(
    "seen_unseen",
    title="Seen against unseen captions",
    caption="Accuracy among all 90 captions, on test images of captions used in training and of captions "
    "never used, one line per family and β, each point labelled with its width, with 95 % intervals. On the "
    "dashed line, new combinations are recognised as well as trained ones. Both axes are in log-odds, so "
    "that 90 % and 95 % are as far apart as 10 % and 5 %.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel; up and to the right is better."""
    series = {name: points(group, SEEN, UNSEEN) for name, group in by_series(models).items()}
    series = {name: line for name, line in series.items() if line}
    if not series:
        return None
    fig = Figure(figsize=(8.0, 5.4), layout="constrained")
    axes = fig.subplots()
    for name, line in series.items():
        draw_line(axes, line, label=name)
    shown = [point for line in series.values() for point in line]
    _odds(axes, [estimate.value for _, *both in shown for estimate in both])
    axes.set(xlabel="accuracy on seen captions", ylabel="accuracy on unseen captions")
    style.legend_right(axes)
    name_points(
        axes,
        [(seen.value, unseen.value) for _, seen, unseen in shown],
        [str(spec.latent_dim) for spec, _, _ in shown],
        [style.colour(spec) for spec, _, _ in shown],
    )
    return fig


def _odds(axes: Axes, accuracies: Sequence[float]) -> None:
    """Set both axes to log-odds over the range of the accuracies, and draw the line of equal values."""
    low = max(logit(max(min(accuracies), LOWEST)) - ROOM, logit(LOWEST))
    high = min(logit(min(max(accuracies), HIGHEST)) + ROOM, logit(HIGHEST))
    limits = expit(low), expit(high)
    ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
    # An interval over few seeds may exceed the range of an accuracy: it is drawn to the edge.
    axes.set_xscale("logit", nonpositive="clip")
    axes.set_yscale("logit", nonpositive="clip")
    axes.set(xlim=limits, ylim=limits)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.axline(
        (limits[0], limits[0]), (limits[1], limits[1]), color=style.FAINT, linestyle="--", linewidth=1.2
    )
