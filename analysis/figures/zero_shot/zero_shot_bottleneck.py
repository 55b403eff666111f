"""Zero-shot accuracy against the width of the code."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.lines import Point, by_series, draw_line
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import estimate
from latentbench.analysis.statistics.estimates import Estimate
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS

LOCKED, NATIVE = "zero_shot_top1", "native_zero_shot_top1"
APART = 0.03
"""Lines are shifted by this share of a doubling of the width, so that their intervals can be
distinguished."""


@figure(
    "zero_shot_bottleneck",
    title="Zero-shot accuracy against the bottleneck",
    caption="Share of images whose caption is found among all 90, for captions never used in training, "
    "against the width of the code, with 95 % intervals. Solid: the codes of every model are frozen and "
    "matched to words in the same way, so families share one axis. Dashed: the model's own text encoder. "
    "The dotted line is chance, 1 in 90. Lines are shifted slightly so that their intervals can be "
    "distinguished.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one line per family and β, and a second one for models with a text encoder."""
    measured = [model for model in models if model.value(LOCKED) is not None]
    if not measured:
        return None
    fig = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = fig.subplots()
    lines = _lines(measured)
    for place, (label, line, hollow) in enumerate(lines):
        shift = 2 ** (APART * (place - (len(lines) - 1) / 2))
        moved = [(spec, x.scaled(shift), y) for spec, x, y in line]
        draw_line(axes, moved, label=label, hollow=hollow)
    _finish(axes, [model.spec.latent_dim for model in measured])
    return fig


def _lines(measured: Sequence[ModelResult]) -> list[tuple[str, list[Point], bool]]:
    """Return the legend's text, the points, and whether they use the model's own text encoder."""
    lines = []
    for name, group in by_series(measured).items():
        lines += [(name, _line(group, LOCKED), False), (f"{name}, own text", _line(group, NATIVE), True)]
    return [each for each in lines if each[1]]


def _line(group: Sequence[Sequence[ModelResult]], metric: str) -> list[Point]:
    """Return the accuracy of each width that was measured."""
    found = [(seeds[0].spec, estimate(seeds, metric)) for seeds in group]
    return [(spec, Estimate(spec.latent_dim), accuracy) for spec, accuracy in found if accuracy]


def _finish(axes: Axes, widths: list[int]) -> None:
    chance = 1 / len(DIGIT_CAPTIONS.captions)
    axes.axhline(chance, color=style.FAINT, linestyle=":", linewidth=1.2, label=f"chance ({chance:.1%})")
    axes.margins(y=0.1)
    style.width_axis(axes, widths)
    # An interval over few seeds may exceed the range of an accuracy.
    axes.set_ylim(0, min(1.02, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("zero-shot top-1 accuracy")
    style.legend_right(axes)
