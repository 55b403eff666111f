"""Accuracy by template, and the captions with the highest and lowest accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.stored.lines import from_lines

TEMPLATES, LINES = "prompts/template_accuracy", "prompts/template_lines"
SHORTENED, SHORTENED_LINES = "prompts/shortened_accuracy", "prompts/shortened_lines"
RECALL, CLASSES = "prompts/class_recall", "prompts/class_lines"
LISTED = 6
"""The number of captions at either end."""
LARGEST = 12
"""The highest number of models: more could not be distinguished."""


@figure(
    "prompt_spread",
    title="Accuracy by prompt",
    caption="Above: accuracy of every model with a text encoder, by template of its captions. A cross marks "
    "templates that leave something out, which no image encoder can compensate; the line marks the "
    "templates' average. Below: the captions with the lowest and highest accuracy, for the model with the "
    "best average.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw two panels: templates of all models, and captions of one."""
    shown = lowest_seeds(models, TEMPLATES, LINES, RECALL, CLASSES)[:LARGEST]
    if not shown:
        return None
    lines = from_lines(shown[0].arrays[LINES])
    short = from_lines(shown[0].arrays[SHORTENED_LINES]) if SHORTENED_LINES in shown[0].arrays else []
    height = 0.32 * (len(lines) + len(short)) + 1.4
    fig = Figure(figsize=(9.6, height + 3.6), layout="constrained")
    above, below = fig.subplots(2, 1, height_ratios=(height, 3.6))
    same = [model for model in shown if from_lines(model.arrays[LINES]) == lines]
    _templates(above, same, lines, short)
    best = max(shown, key=lambda model: model.value("prompt_top1") or 0.0)
    _captions(below, best)
    return fig


def _templates(axes: Axes, models: Sequence[ModelResult], lines: list[str], short: list[str]) -> None:
    """Draw one row per template, with one mark per model."""
    rows = lines + short
    for index, model in enumerate(models):
        colour = style.width_colours(model.spec, 1 + len(models))[index] if len(models) > 1 else style.INK
        marker, arrays = style.marker(model.spec), model.arrays
        axes.plot(arrays[TEMPLATES], range(len(lines)), marker, color=colour, label=model.label)
        if short and SHORTENED in arrays:
            axes.plot(arrays[SHORTENED], range(len(lines), len(rows)), "x", color=colour)
        average = model.value("prompt_top1")
        if average is not None:
            axes.plot([average] * 2, [-0.5, len(lines) - 0.5], color=colour, linewidth=0.9, alpha=0.6)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("accuracy")
    axes.set_title("by template")
    style.legend_right(axes)


def _captions(axes: Axes, model: ModelResult) -> None:
    """Draw the captions with the lowest and highest accuracy as bars."""
    recall, names = model.arrays[RECALL], from_lines(model.arrays[CLASSES])
    asked = [(float(value), name) for value, name in zip(recall, names, strict=True) if np.isfinite(value)]
    asked.sort()
    ends = asked if len(asked) <= 2 * LISTED else [*asked[:LISTED], *asked[-LISTED:]]
    values, labels = [value for value, _ in ends], [name for _, name in ends]
    axes.barh(range(len(ends)), values, color=style.colour(model.spec), height=0.7)
    axes.set_yticks(range(len(ends)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("share of its images classified correctly")
    axes.set_title(f"{model.label}: worst and best captions")
