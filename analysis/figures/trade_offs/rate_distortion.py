"""Rate and distortion: reconstruction error against rate, along β."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import Point, draw_line, points
from latentbench.analysis.figures.drawing.naming import name_points
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.models.spec import ModelSpec


@figure(
    "rate_distortion",
    title="Rate and distortion",
    caption="Reconstruction error against rate, one curve per width, each point labelled with its β. Down "
    "and to the left is better: less error for fewer nats. One panel per likelihood, since rates under "
    "different likelihoods are not comparable. Deterministic codes have no rate and are not shown.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel per likelihood."""
    likelihoods: dict[str, list[Point]] = {}
    for point in points(by_model(models), "kl", "mse"):
        likelihoods.setdefault(_likelihood(point[0]), []).append(point)
    if not likelihoods:
        return None
    fig, grid = style.panels(len(likelihoods), columns=2, width=6.2, height=4.4)
    for axes, (name, panel) in zip(grid, likelihoods.items(), strict=True):
        _panel(axes, panel)
        axes.set_title(name)
    # Labels are placed once every panel has its final size.
    for axes, panel in zip(grid, likelihoods.values(), strict=True):
        name_points(
            axes,
            [(rate.value, error.value) for _, rate, error in panel],
            [_beta(spec) for spec, _, _ in panel],
            [style.INK] * len(panel),
        )
    return fig


def _likelihood(spec: ModelSpec) -> str:
    sigma, likelihood = spec.number("sigma"), spec.settings.get("likelihood")
    if sigma is None and likelihood == "gaussian":
        return f"Gaussian likelihood, {spec.settings['sigma']} σ"
    if sigma is not None:
        return f"Gaussian likelihood, σ² = {sigma**2:.3g}"
    return f"{str(likelihood).capitalize()} likelihood" if likelihood else "Squared error"


def _beta(spec: ModelSpec) -> str:
    beta = spec.number("beta")
    return "" if beta is None else f"β={beta:g}"


def _curve(spec: ModelSpec) -> str:
    """Return the label without its β."""
    return spec.label.replace(f" {_beta(spec)}", "") if _beta(spec) else spec.label


def _panel(axes: Axes, panel: Sequence[Point]) -> None:
    curves: dict[str, list[Point]] = {}
    for point in sorted(panel, key=lambda point: (point[0].latent_dim, point[0].number("beta") or 0)):
        curves.setdefault(_curve(point[0]), []).append(point)
    for (name, curve), colour in zip(
        curves.items(), style.width_colours(panel[0][0], len(curves)), strict=True
    ):
        draw_line(axes, curve, label=name, colour=colour)
    axes.set(xlabel="rate: KL (nats per image)", ylabel="distortion: MSE (pixels in [0, 1])")
    axes.margins(0.12)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    style.legend_right(axes)
