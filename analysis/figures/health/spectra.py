"""Spectra of codes: eigenvalues of the channels' covariance, and power over spatial frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

EIGENVALUES = "latent_health/eigenvalues"
POWER = "latent_health/{}_power"
FREQUENCY = "latent_health/{}_frequency"


@figure(
    "code_spectra",
    title="Spectra of the codes",
    caption="Eigenvalues of the channels' covariance as shares of their sum; the legend has the "
    "participation ratio, the effective number of dimensions. Below, for grids: power over spatial frequency "
    "in cycles per side, each curve divided by its first value; dashed the test images. Natural images fall "
    "with a slope of about −2; codes that fall much less have fine detail as strong as the coarse layout.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw the eigenvalues of all models and, if any code is a grid, the power of grids."""
    shown = lowest_seeds(models, EIGENVALUES)
    if not shown:
        return None
    grids = [model for model in shown if POWER.format("codes") in model.arrays]
    height = style.legend_height(len(shown))
    fig, panels = style.panels(2 if grids else 1, columns=1, width=8.4, height=height)
    for model, colour in zip(shown, style.colours_by_width([each.spec for each in shown]), strict=True):
        _eigenvalues(panels[0], model, colour)
    panels[0].set(yscale="log", xlabel="direction, by variance", ylabel="share of the variance")
    style.plain_numbers(panels[0].yaxis)
    style.legend_right(panels[0])
    if grids:
        _powers(panels[1], grids)
    return fig


def _eigenvalues(axes: Axes, model: ModelResult, colour: str) -> None:
    values = model.arrays[EIGENVALUES]
    shares = values / values.sum()
    present = shares > 1e-8
    ratio = model.value("participation_ratio")
    label = model.label if ratio is None else f"{model.label}: {ratio:.1f} of {len(values)}"
    axes.plot(
        np.arange(1, len(values) + 1)[present],
        shares[present],
        color=colour,
        marker=style.marker(model.spec) if len(values) <= 64 else None,
        markersize=4,
        label=label,
    )


def _powers(axes: Axes, models: Sequence[ModelResult]) -> None:
    for model, colour in zip(models, style.colours_by_width([each.spec for each in models]), strict=True):
        slope = model.value("spectral_slope_codes")
        label = model.label if slope is None else f"{model.label}: slope {slope:.2f}"
        _power(axes, model, "codes", colour=colour, label=label, marker=style.marker(model.spec))
    slope = models[0].value("spectral_slope_images")
    if slope is not None:
        _power(axes, models[0], "images", colour=style.INK, label=f"images: slope {slope:.2f}", dashed=True)
    axes.set(xscale="log", yscale="log", xlabel="cycles per side", ylabel="power, relative to the first")
    style.plain_numbers(axes.xaxis)
    style.plain_numbers(axes.yaxis)
    style.legend_right(axes)


def _power(
    axes: Axes,
    model: ModelResult,
    name: str,
    *,
    colour: str,
    label: str,
    marker: str | None = None,
    dashed: bool = False,
) -> None:
    power = model.arrays[POWER.format(name)]
    axes.plot(
        model.arrays[FREQUENCY.format(name)],
        power / power[0],
        color=colour,
        label=label,
        marker=marker,
        markersize=5,
        linestyle="--" if dashed else "-",
    )
