"""Bits and distortion: PSNR against bits per pixel, of codecs and of rounded codes on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.analysis.coding.bjontegaard import Curve, bd_rate
from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

BITS, ERRORS = "coding/bits_per_pixel", "coding/mse"
JPEG_BITS, JPEG_ERRORS = "coding/jpeg_bits_per_pixel", "coding/jpeg_mse"


@dataclass(frozen=True, eq=False)
class RateCurve:
    """Bits per pixel and PSNR in dB of one curve, by bits, and its style."""

    label: str
    bits: NDArray[np.float64]
    psnr: NDArray[np.float64]
    colour: str
    marker: str

    @property
    def points(self) -> Curve:
        """Pairs of bits and PSNR."""
        return list(zip(self.bits.tolist(), self.psnr.tolist(), strict=True))


@figure(
    "coded_rate_distortion",
    title="Bits and distortion",
    caption="PSNR of the mean squared error against bits per pixel of the file. Up and to the left is "
    "better. A code is rounded in steps of a multiple of each channel's standard deviation and "
    "entropy-coded; its curve ends where the error is within 1 % of the unrounded code's. Points of one "
    "codec are joined over its quality; grey dashes are JPEG on the same images. A percentage is the "
    "BD-rate: bits more (+) or fewer (−) than JPEG's at equal PSNR. What reconstructs the images exactly has "
    "no point.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel with a curve per model, and one per codec over its qualities."""
    shown = lowest_seeds(models, BITS, ERRORS)
    curves = [curve for curve in _curves(shown) if len(curve.bits)]
    if not curves:
        return None
    fig, (axes,) = style.panels(1, columns=1, width=8.6, height=5.4)
    jpeg = _curve("JPEG", shown[0].arrays[JPEG_BITS], shown[0].arrays[JPEG_ERRORS], style.FAINT, "")
    axes.plot(jpeg.bits, jpeg.psnr, color=jpeg.colour, linestyle="--", label="JPEG, 13 qualities")
    for curve in curves:
        axes.plot(
            curve.bits,
            curve.psnr,
            color=curve.colour,
            marker=curve.marker,
            markeredgecolor="white",
            markersize=7,
            label=curve.label + _more_than(curve, jpeg),
        )
    _finish(axes)
    return fig


def _more_than(curve: RateCurve, jpeg: RateCurve) -> str:
    """Return the BD-rate from JPEG as text; empty where the curves have too little in common."""
    rate = bd_rate(curve.points, jpeg.points)
    return "" if rate is None else f" ({rate:+.0%})".replace("-", "−")


def _curves(models: Sequence[ModelResult]) -> list[RateCurve]:
    """Return the curve of each model; models of one codec are points of one curve."""
    groups: dict[str, list[ModelResult]] = {}
    for model in models:
        is_point = len(model.arrays[BITS]) == 1
        groups.setdefault(model.spec.family if is_point else model.label, []).append(model)
    shades = style.colours_by_width([model.spec for model in models])
    colours = {model.label: shade for model, shade in zip(models, shades, strict=True)}
    return [
        _curve(
            label,
            np.concatenate([model.arrays[BITS] for model in group]),
            np.concatenate([model.arrays[ERRORS] for model in group]),
            colours[group[0].label],
            style.marker(group[0].spec),
        )
        for label, group in groups.items()
    ]


def _curve(
    label: str, bits: NDArray[np.float64], errors: NDArray[np.float64], colour: str, marker: str
) -> RateCurve:
    """Sort points by their bits, and leave out those without an error."""
    order = np.argsort(bits)
    kept = order[errors[order] > 0]
    return RateCurve(label, bits[kept], -10 * np.log10(errors[kept]), colour, marker)


def _finish(axes: Axes) -> None:
    axes.set_xscale("log")
    style.plain_numbers(axes.xaxis)
    axes.set(xlabel="bits per pixel", ylabel="PSNR (dB)")
    style.legend_right(axes)
