"""The KL term of a VAE over training: low, a spike, then settled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.rate.kl_curve import Curve, smoothed, spike

KL = "history/kl"


@figure(
    "kl_curves",
    title="KL over training",
    caption="KL to the prior at every training step (light) and smoothed (strong), one panel per width; "
    "steps are on a logarithmic axis. The code is usually empty at first, fills in a spike while the "
    "decoder learns to use it, and then settles as the KL penalty takes effect. Circles mark spikes.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per width, with one curve per model: its mean over seeds."""
    groups = by_model([model for model in models if len(model.arrays.get(KL, ())) > 1])
    if not groups:
        return None
    widths = sorted({group[0].spec.latent_dim for group in groups})
    fig, grid = style.panels(len(widths), columns=2, width=5.0, height=3.4)
    for axes, width in zip(grid, widths, strict=True):
        for group in sorted(groups, key=lambda group: group[0].spec.number("beta") or 0):
            if group[0].spec.latent_dim == width:
                _curve(axes, group)
        _finish(axes, width)
    return fig


def _curve(axes: Axes, seeds: Sequence[ModelResult]) -> None:
    raw = mean_over_seeds([model.arrays[KL] for model in seeds])
    smooth = smoothed(raw)
    steps = np.arange(1, len(raw) + 1)
    colour = style.colour(seeds[0].spec)
    axes.plot(steps, raw, color=colour, linewidth=0.6, alpha=0.3)
    peak = spike(smooth)
    label = seeds[0].spec.series
    if peak is not None:
        label += f" (spike at step {peak + 1:,})"
        axes.plot(peak + 1, smooth[peak], "o", color=colour, markersize=9, markerfacecolor="white", zorder=4)
    axes.plot(steps, smooth, color=colour, label=label)


def _finish(axes: Axes, width: int) -> None:
    axes.set_xscale("log")
    style.plain_numbers(axes.xaxis)
    axes.set_ylim(0, (1.1 + 0.1 * len(axes.get_lines()) / 2) * axes.get_ylim()[1])
    axes.set(xlabel="training step", ylabel="KL (nats per image)")
    axes.set_title(f"{width} dimensions")
    # Early on every curve is near 0, so the legend has room in the upper left.
    axes.legend(loc="upper left")


def mean_over_seeds(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """Average curves over the steps that all of them have; a curve ends at its first non-finite value."""
    shortest = min(int(np.isfinite(curve).cumprod().sum()) for curve in curves)
    return np.asarray(np.mean([curve[:shortest] for curve in curves], axis=0, dtype=np.float64))
