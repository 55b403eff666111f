"""Noise robustness: the change of decoded images over the noise on their codes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model

SIGMA, ERROR = "latent_health/noise_sigma", "latent_health/noise_mse"


@figure(
    "noise_curve",
    title="Noise on the codes",
    caption="Mean squared change of decoded images by Gaussian noise on their codes, whose size is given in "
    "standard deviations of each channel; mean over seeds. The cross marks the model's own reconstruction "
    "error: where a curve is above it, noise of that size costs more than the compression did.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one curve per model."""
    groups = by_model([model for model in models if SIGMA in model.arrays and ERROR in model.arrays])
    if not groups:
        return None
    fig, (axes,) = style.panels(1, columns=1, width=8.4, height=style.legend_height(len(groups)))
    colours = style.colours_by_width([group[0].spec for group in groups])
    for group, colour in zip(groups, colours, strict=True):
        sigma = group[0].arrays[SIGMA]
        error = sum(model.arrays[ERROR] for model in group) / len(group)
        axes.plot(
            sigma,
            error,
            color=colour,
            marker=style.marker(group[0].spec),
            markersize=5,
            label=group[0].label,
        )
        own = [value for model in group if (value := model.value("mse")) is not None]
        if own:
            axes.plot(sigma[0] * 0.88, sum(own) / len(own), "x", color=colour, markersize=6)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="noise (standard deviations of each channel)",
        ylabel="squared change per pixel",
    )
    axes.set_xticks(groups[0][0].arrays[SIGMA])
    axes.minorticks_off()
    style.plain_numbers(axes.xaxis)
    style.plain_numbers(axes.yaxis)
    style.legend_right(axes)
    return fig
