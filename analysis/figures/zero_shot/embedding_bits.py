"""Accuracy and retrieval against the bits of each image's vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import lowest_seeds

READERS = {"towers": "-", "own_text": "--"}
PANELS = {"accuracy": "zero-shot accuracy", "retrieval": "precision of the ten nearest images"}
LARGEST = 8
"""The highest number of models; those with the highest accuracy are shown."""


@figure(
    "embedding_bits",
    title="Accuracy over bits per embedding",
    caption="The best accuracy that each model reaches with at most so many bits per image, over truncations "
    "to leading principal axes in four number formats and over product quantisation. Solid lines: towers on "
    "frozen codes, the same for every model. Dashed lines: the model's own text encoder.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel for accuracy and one for retrieval, with one line per model and reader."""
    shown = [
        model
        for reader in READERS
        for model in lowest_seeds(models, _name(reader, "bits"), _name(reader, "accuracy"))
    ]
    shown = sorted(dict.fromkeys(shown), key=_best, reverse=True)[:LARGEST]
    if not shown:
        return None
    fig, grid = style.panels(2, columns=2, width=5.2, height=4.0)
    for axes, (panel, label) in zip(grid, PANELS.items(), strict=True):
        for model, colour in zip(shown, style.colours_by_width([m.spec for m in shown]), strict=True):
            for reader, dashes in READERS.items():
                _line(axes, model, reader, panel, colour=colour, dashes=dashes)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set(xlabel="bits per image", ylabel=label)
    style.legend_right(grid[-1])
    return fig


def _name(reader: str, what: str) -> str:
    return f"embedding_bits/{reader}_{what}"


def _best(model: ModelResult) -> float:
    found = (model.arrays.get(_name(reader, "accuracy")) for reader in READERS)
    return max(float(values.max()) for values in found if values is not None)


def _line(axes: Axes, model: ModelResult, reader: str, panel: str, *, colour: str, dashes: str) -> None:
    bits, values = (model.arrays.get(_name(reader, what)) for what in ("bits", panel))
    if bits is None or values is None:
        return
    order = np.argsort(bits, kind="stable")
    other = "" if reader == "towers" else ", own text"
    axes.step(
        bits[order],
        np.maximum.accumulate(values[order]),
        where="post",
        color=colour,
        linestyle=dashes,
        label=f"{model.label}{other}",
    )
